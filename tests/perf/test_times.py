# SPDX-License-Identifier: Apache-2.0
"""How long what a person waits for takes, beside the reference."""

import re

import pytest

from tests.engines import images
from tests.engines.docker import Docker
from tests.engines.images import IMAGE
from tests.engines.pair import Pair
from tests.perf.conftest import Report
from tests.system.both import Both

pytestmark = [pytest.mark.perf, pytest.mark.timeout(900)]

MEGABYTE = 1e6


def test_run_and_remove(both: Both, report: Report) -> None:
    def measure(docker: Docker) -> float:
        return docker.run("--rm", IMAGE, "true").ok().seconds

    assert report.paired("docker run --rm true", "s", both, measure) > 0


def test_run_without_network(both: Both, report: Report) -> None:
    def measure(docker: Docker) -> float:
        return docker.run("--rm", "--network", "none", IMAGE, "true").ok().seconds

    assert report.paired("docker run --rm --network none true", "s", both, measure) > 0


def test_exec_and_stop(both: Both, report: Report) -> None:
    with both.containers() as inside:
        ids = {
            inside.reference[0]: inside.reference[1],
            inside.boxlite[0]: inside.boxlite[1],
        }

        def measure(docker: Docker) -> float:
            return docker.exec(ids[docker], "true").ok().seconds

        assert report.paired("docker exec true", "s", both, measure) > 0

    def stop(docker: Docker) -> float:
        with docker.container() as container:
            return docker("stop", container).ok().seconds

    assert report.paired("docker stop", "s", both, stop) > 0


def test_output_of_a_container(both: Both, report: Report) -> None:
    # The difference to a run that writes nothing is the transport's.
    size = 8 * images.BLOB_BYTES
    script = "for i in 1 2 3 4 5 6 7 8; do cat /srv/blob; done"

    with both.containers() as inside:
        ids = {
            inside.reference[0]: inside.reference[1],
            inside.boxlite[0]: inside.boxlite[1],
        }

        def out(docker: Docker) -> float:
            result = docker.exec(ids[docker], "sh", "-c", script, timeout=300).ok()
            assert len(result.stdout) == size
            return size / MEGABYTE / result.seconds

        def into(docker: Docker) -> float:
            result = docker.exec(
                "--interactive", ids[docker], "sh", "-c", "cat >/dev/null",
                stdin=images.blob(), timeout=300,
            ).ok()  # fmt: skip
            return images.BLOB_BYTES / MEGABYTE / result.seconds

        assert report.paired("stdout through exec", "MB/s", both, out) > 0
        assert report.paired("stdin through exec", "MB/s", both, into) > 0


def test_files_of_the_root_filesystem(both: Both, report: Report) -> None:
    with both.containers() as inside:
        ids = {
            inside.reference[0]: inside.reference[1],
            inside.boxlite[0]: inside.boxlite[1],
        }

        def read(docker: Docker) -> float:
            words = ("sh", "-c", "cat /srv/blob /srv/noise >/dev/null")
            return docker.exec(ids[docker], *words).ok().seconds

        def stat(docker: Docker) -> float:
            words = ("sh", "-c", "find / -xdev >/dev/null")
            return docker.exec(ids[docker], *words).ok().seconds

        assert report.paired("read 13 MB of the image", "s", both, read) > 0
        assert report.paired("find / -xdev", "s", both, stat) > 0


def test_phases_of_a_start(both: Both, pair: Pair, report: Report) -> None:
    """What the shim itself says of each start, from its log."""
    log = pair.directory / "containerd.log"
    if both.boxlite.runtime != "boxlite":
        pytest.skip("the shim's log tells of BoxLite's starts only")
    position = log.stat().st_size
    for _ in range(report.rounds):
        both.boxlite.run("--rm", IMAGE, "true").ok()
    with log.open() as file:
        file.seek(position)
        text = file.read()
    phases: dict[str, list[float]] = {}
    for name, number, unit in re.findall(
        r"\b(t_\w+)=\"?(?:Some\()?([\d.]+)(µs|ms|s)", text
    ):
        scale = {"µs": 1e-6, "ms": 1e-3, "s": 1.0}[unit]
        phases.setdefault(name, []).append(float(number) * scale)
    assert phases, "the shim's log has no timings"
    for name, values in phases.items():
        report.keep(f"shim {name}", "s", values)
