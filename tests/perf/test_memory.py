# SPDX-License-Identifier: Apache-2.0
"""What an idle container costs the host in memory."""

from pathlib import Path

import pytest

from boxlite_runtime.bench import memory
from tests.engines import processes
from tests.engines.docker import Docker
from tests.engines.pair import Pair
from tests.perf.conftest import Report

pytestmark = [pytest.mark.perf, pytest.mark.boxlite_only]


def test_an_idle_container(docker: Docker, pair: Pair, report: Report) -> None:
    before = {p.pid for p in processes.marked(pair.mark)}
    with docker.container() as container:
        own = {p.pid: p for p in processes.marked(pair.mark) if p.pid not in before}
        own.update({p.pid: p for p in processes.naming(container)})
        total = 0.0
        for process in own.values():
            entry = Path(f"/proc/{process.pid}")
            mapped = memory.mapped((entry / "smaps").read_text())
            total += mapped.pss
            report.note(f"idle PSS of {process.program} {process.pid}, MiB", mapped.pss)
            if memory.role(process.command) == "QEMU":
                guest = memory.held(entry, mapped.guest)
                total += guest
                report.note("idle memory of the guest, MiB", guest)
        report.note("idle PSS of all, MiB", total)
        assert any(p.program.startswith("qemu-system-") for p in own.values())
        used = docker.exec(container, "free", "-k").ok().lines[1].split()
        report.note("guest memory used, MiB", int(used[2]) / 1024)
        report.note("guest memory in all, MiB", int(used[1]) / 1024)
