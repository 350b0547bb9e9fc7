# SPDX-License-Identifier: Apache-2.0
"""What an idle container costs the host in memory."""

from pathlib import Path

import pytest

from tests.engines import processes
from tests.engines.docker import Docker
from tests.engines.pair import Pair
from tests.perf.conftest import Report

pytestmark = [pytest.mark.perf, pytest.mark.boxlite_only]

MIB = 1024 * 1024


def smaps(pid: int, name: str) -> int:
    """Return a sum of smaps_rollup in bytes."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no {name} for {pid}")


def test_an_idle_container(docker: Docker, pair: Pair, report: Report) -> None:
    before = {p.pid for p in processes.marked(pair.mark)}
    with docker.container() as container:
        own = {p.pid: p for p in processes.marked(pair.mark) if p.pid not in before}
        own.update({p.pid: p for p in processes.naming(container)})
        total = 0
        for process in own.values():
            pss = smaps(process.pid, "Pss")
            total += pss
            report.note(f"idle PSS of {process.program} {process.pid}, MiB", pss / MIB)
        report.note("idle PSS of all, MiB", total / MIB)
        assert any(p.program.startswith("qemu-system-") for p in own.values())
        used = docker.exec(container, "free", "-k").ok().lines[1].split()
        report.note("guest memory used, MiB", int(used[2]) / 1024)
        report.note("guest memory in all, MiB", int(used[1]) / 1024)
