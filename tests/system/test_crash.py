# SPDX-License-Identifier: Apache-2.0
"""Whatever dies, the container has ended for its engine and nothing is left."""

import signal

import pytest

from tests.engines import leftovers, processes
from tests.engines.docker import Docker
from tests.engines.pair import Pair
from tests.engines.processes import Process
from tests.engines.waiting import allowed, until

pytestmark = pytest.mark.boxlite_only

#: Seconds in which the engine and the runtime have to notice and clean up.
SOON = 5.0


def of(pair: Pair, container: str, program: str) -> Process:
    """Return the process of a container whose program's name starts so.

    Of two it is the one that was forked last, which does the work.
    """
    found = {p.pid: p for p in processes.marked(pair.mark)}
    found.update({p.pid: p for p in processes.naming(container)})
    return max(
        (
            p
            for p in found.values()
            if p.program.startswith(program) and container in p.command
        ),
        key=lambda process: process.pid,
    )


def ended(docker: Docker, container: str) -> int:
    """Wait until the engine knows that a container has ended; return its code."""
    until(
        "the engine says exited",
        lambda: docker.state(container)["Status"] == "exited",
        SOON,
    )
    return int(docker.state(container)["ExitCode"])


@pytest.mark.core
@pytest.mark.kvm
def test_a_killed_machine_ends_the_container_with_137(
    docker: Docker, pair: Pair
) -> None:
    with docker.container("--volume", "/srv/volume", "--publish", "8080") as container:
        machine = of(pair, container, "qemu")
        with docker.background("exec", container, "sleep", "600") as running:
            until(
                "exec runs", lambda: docker.exec(container, "pidof", "sleep").code == 0
            )
            machine.signal(signal.SIGKILL)
            assert ended(docker, container) == 137
            assert running.wait(allowed(SOON)) != 0
        leftovers.none_left(pair, SOON)


@pytest.mark.core
def test_a_killed_shim_is_cleaned_up_by_the_engine(docker: Docker, pair: Pair) -> None:
    with docker.container("--volume", "/srv/volume", "--publish", "8080") as container:
        of(pair, container, "containerd-shim-boxlite").signal(signal.SIGKILL)
        assert ended(docker, container) != 0
        leftovers.none_left(pair, SOON)
        # The same container starts again over what the crash left.
        docker("start", container).ok()
        assert docker.exec(container, "echo", "again").ok().text == "again"


def test_a_killed_file_server_ends_the_container(docker: Docker, pair: Pair) -> None:
    with docker.container() as container:
        of(pair, container, "virtiofsd").signal(signal.SIGKILL)
        assert ended(docker, container) == 137
        leftovers.none_left(pair, SOON)


def test_a_machine_that_ends_by_itself_is_not_said_to_lack_files(
    docker: Docker, pair: Pair
) -> None:
    log = pair.directory / "containerd.log"
    with docker.container("--volume", "/srv/volume") as container:
        start = log.stat().st_size
        # QEMU then lets go of all that it has before it ends, as after a guest's own end.
        of(pair, container, "qemu").signal(signal.SIGTERM)
        assert ended(docker, container) == 137
        text = log.read_bytes()[start:].decode(errors="replace")
    errors = [line for line in text.splitlines() if " ERROR " in line]
    assert any("the machine ended" in line for line in errors), errors
    assert not any("file server" in line for line in errors), errors
    leftovers.none_left(pair, SOON)


def test_a_hung_machine_is_listed_and_killed(docker: Docker, pair: Pair) -> None:
    with docker.container() as container:
        machine = Process(docker.state(container)["Pid"], "")
        machine.signal(signal.SIGSTOP)
        try:
            assert docker("top", container).ok().seconds < allowed(SOON)
            assert docker("kill", container).ok().seconds < allowed(SOON)
            assert ended(docker, container) == 137
        finally:
            machine.signal(signal.SIGCONT)
        leftovers.none_left(pair, SOON)


def test_one_crash_touches_no_other_container(docker: Docker, pair: Pair) -> None:
    with docker.container() as victim, docker.container() as other:
        Process(docker.state(victim)["Pid"], "").signal(signal.SIGKILL)
        assert ended(docker, victim) == 137
        assert docker.exec(other, "echo", "fine").ok().text == "fine"
        docker("stop", other).ok()
        assert docker.state(other)["ExitCode"] == 0
