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
def own(docker: Docker, pair: Pair, container: str) -> dict[str, Process]:
    """The host's processes of the container, by the program's name."""
    cgroup = [p for p in processes.every() if _in_cgroup(p.pid, container)]
    found = {p.program: p for p in [*cgroup, *processes.naming(container)]}
    assert "docker" not in found
    return found


def _in_cgroup(pid: int, container: str) -> bool:
    try:
        return container in Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return False


def test_the_kernel_is_not_the_hosts(docker: Docker, container: str) -> None:
    kernel = docker.exec(container, "uname", "-r").ok().text
    assert kernel and kernel != platform.release()


def test_the_pid_is_the_machines_in_a_network_of_its_own(
    docker: Docker, container: str, pair: Pair
) -> None:
    pid = docker.state(container)["Pid"]
    assert Path(f"/proc/{pid}/exe").readlink().name.startswith("qemu-system-")
    network = f"/proc/{pid}/ns/net"
    assert not os.path.samestat(os.stat(network), os.stat("/proc/self/ns/net"))
    assert not os.path.samestat(
        os.stat(network), os.stat(f"/proc/{pair.dockerd_pid}/ns/net")
    )


def test_machine_and_file_server_are_in_the_containers_cgroup(
    container: str, own: dict[str, Process]
) -> None:
    for program in own:
        if program.startswith(("qemu-system-", "virtiofsd")):
            assert _in_cgroup(own[program].pid, container), program
    assert any(name.startswith("qemu-system-") for name in own)
    assert "virtiofsd" in own


def test_the_file_server_is_confined_to_the_share(own: dict[str, Process]) -> None:
    command = own["virtiofsd"].command
    assert "none" not in command.split(), command
    server = own["virtiofsd"].pid
    names = {
        name
        for root, directories, files in os.walk(f"/proc/{server}/root")
        for name in (*directories, *files)
    }
    assert "busybox" in names, "the root filesystem is not what it sees"
    assert "sibling-file" not in names, "more of the directory than was asked for"


def test_the_machines_process_filters_its_system_calls(
    own: dict[str, Process],
) -> None:
    for program, process in own.items():
        if program.startswith(("qemu-system-", "virtiofsd")):
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


def test_the_clock_is_the_hosts(docker: Docker, container: str) -> None:
    before = time.time()
    guest = int(docker.exec(container, "date", "+%s").ok().text)
    assert int(before) - 1 <= guest <= time.time() + 1


def test_no_two_machines_are_alike(docker: Docker) -> None:
    script = (
        "cat /proc/sys/kernel/random/boot_id; head -c 16 /dev/urandom | xxd -p;"
        "cat /proc/sys/kernel/random/uuid"
    )
    one, two = (docker.sh(script).ok().lines for _ in range(2))
    assert len(one) == 3 and not set(one) & set(two)
