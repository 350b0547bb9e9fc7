# SPDX-License-Identifier: Apache-2.0
"""A container is in a machine of its own, and the machine is well kept."""

import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines import processes
from tests.engines.docker import Docker
from tests.engines.pair import Pair
from tests.engines.processes import Process

pytestmark = pytest.mark.boxlite_only

#: Seconds by which a machine's clock may be off.
SKEW = 0.1

SECRET = "correct-horse-battery-staple"


@pytest.fixture(scope="module")
def container(
    docker: Docker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A container with a secret in its environment and one file of a directory."""
    directory = tmp_path_factory.mktemp("single")
    for name in ("shared-file", "sibling-file"):
        (directory / name).write_text("content\n")
    options = ("--env", f"SECRET={SECRET}", "-v", f"{directory}/shared-file:/one")
    with docker.container(*options) as running:
        yield running


@pytest.fixture(scope="module")
def own(container: str) -> list[Process]:
    """The host's processes that run the container's machine and its files."""
    found = {p.pid: p for p in processes.every() if _in_cgroup(p.pid, container)}
    found.update({p.pid: p for p in processes.naming(container)})
    return sorted(
        (p for p in found.values() if p.program.startswith(("qemu", "virtiofsd"))),
        key=lambda process: process.pid,
    )


def _in_cgroup(pid: int, container: str) -> bool:
    try:
        return container in Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return False


def test_the_kernel_is_not_the_hosts(docker: Docker, container: str) -> None:
    kernel = docker.exec(container, "uname", "-r").ok().text
    assert kernel and kernel != platform.release()


def test_machine_and_pid_are_in_a_network_of_their_own(
    docker: Docker, container: str, pair: Pair
) -> None:
    machine = processes.machine(container)
    pid = docker.state(container)["Pid"]
    network = Path(f"/proc/{pid}/ns/net").stat().st_ino
    assert network == Path(f"/proc/{machine.pid}/ns/net").stat().st_ino
    for other in ("self", pair.dockerd_pid):
        assert network != Path(f"/proc/{other}/ns/net").stat().st_ino


def test_the_machine_has_an_empty_root(container: str) -> None:
    machine = processes.machine(container)
    assert list(Path(f"/proc/{machine.pid}/root").iterdir()) == []


def test_machine_and_file_server_are_in_the_containers_cgroup(
    container: str, own: list[Process]
) -> None:
    assert {p.program.split("-")[0] for p in own} == {"qemu", "virtiofsd"}
    assert [p.program for p in own if not _in_cgroup(p.pid, container)] == []


def test_the_file_server_is_confined_to_the_share(own: list[Process]) -> None:
    # The last one forked is the one that serves.
    server = [p for p in own if p.program == "virtiofsd"][-1]
    root = Path(f"/proc/{server.pid}/root")
    assert not root.samefile("/"), "it sees the host's root directory"
    names = {
        name
        for _, directories, files in os.walk(root)
        for name in (*directories, *files)
    }
    assert "busybox" in names, "the root filesystem is not what it sees"
    assert "sibling-file" not in names, "more of the directory than was asked for"


def test_machine_and_file_server_filter_their_system_calls(
    own: list[Process],
) -> None:
    # The first virtiofsd only waits for the one it forked.
    serving = {process.program: process for process in own}
    for program, process in serving.items():
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert "\nSeccomp:\t2\n" in status, f"{program} has no filter"


def test_no_secret_is_on_a_command_line_or_in_a_log(
    docker: Docker, container: str, pair: Pair
) -> None:
    docker.exec("--env", f"MORE={SECRET}", container, "true").ok()
    lines = [p.command for p in processes.naming(SECRET)]
    assert not [line for line in lines if "pytest" not in line]
    logs = [*pair.directory.glob("*.log"), *pair.run_directory.glob("**/*.log")]
    assert logs
    for log in logs:
        assert SECRET not in log.read_text(errors="replace"), log


def test_the_run_directory_is_roots_alone(pair: Pair, container: str) -> None:
    directory = pair.run_directory / container
    assert directory.stat().st_mode & 0o777 == 0o700
    assert directory.stat().st_uid == 0


def test_the_clock_is_the_hosts_and_stays_so(docker: Docker, container: str) -> None:
    # Work is what makes an emulated machine miss the ticks of a timer.
    work = "sha256sum /srv/blob /srv/blob /srv/blob /srv/blob >/dev/null; probe clock"
    for script in ("probe clock", work):
        before = time.time()
        found = docker.exec(container, "sh", "-c", script).ok().text
        guest = int(found.split()[0]) / 1e9
        assert before - SKEW <= guest <= time.time() + SKEW, guest - before


def test_clocks_are_as_fine_as_programs_expect(docker: Docker, container: str) -> None:
    told = docker.exec(container, "probe", "clock").ok().text.split()
    realtime, monotonic = told[1:3]
    assert (realtime, monotonic) == ("1", "1"), "nanoseconds per step"


def test_no_two_machines_are_alike(docker: Docker) -> None:
    script = (
        "cat /proc/sys/kernel/random/boot_id; head -c 16 /dev/urandom | xxd -p;"
        "cat /proc/sys/kernel/random/uuid"
    )
    one, two = (docker.sh(script).ok().lines for _ in range(2))
    assert len(one) == 3 and not set(one) & set(two)
