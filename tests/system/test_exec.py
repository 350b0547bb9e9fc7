# SPDX-License-Identifier: Apache-2.0
"""Further processes in a running container."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import pytest
from docker import APIClient
from docker.utils.socket import frames_iter

from tests.engines import images
from tests.engines.command import Result
from tests.engines.docker import Docker
from tests.engines.images import TESTER
from tests.engines.waiting import allowed, until
from tests.system.both import Both, Inside


@pytest.fixture(scope="module")
def inside(both: Both) -> Iterator[Inside]:
    """A container under each runtime for all questions of this module."""
    options = ("--hostname", "box", "--env", "FROM=run", "--workdir", "/srv")
    with both.containers(options) as running:
        yield running


@pytest.mark.core
def test_it_has_the_containers_environment_directory_and_name(inside: Inside) -> None:
    result = inside.sh("pwd; hostname; id; env | sort; ls /srv").ok()
    assert result.lines[:2] == ["/srv", "box"]
    assert "FROM=run" in result.lines


@pytest.mark.core
def test_user_directory_and_environment_are_as_asked(inside: Inside) -> None:
    result = inside.sh(
        "pwd; id; env | sort",
        "--user", TESTER,
        "--workdir", "/tmp",
        "--env", "FROM=exec", "--env", "MORE=2 words",
    )  # fmt: skip
    lines = result.ok().lines
    assert lines[0] == "/tmp"
    assert lines[1].startswith("uid=1000(tester) gid=1000(tester)")
    assert "FROM=exec" in lines and "MORE=2 words" in lines


@pytest.mark.core
@pytest.mark.kvm
def test_stdin_goes_in_and_both_outputs_come_out_apart(inside: Inside) -> None:
    data = images.blob()[: 1 << 20]
    result = inside.sh("cat; cat /srv/noise >&2", "--interactive", stdin=data)
    assert result.code == 0
    assert result.stdout == data and result.stderr == images.noise()


@pytest.mark.core
def test_what_its_children_write_after_its_end_is_shown(inside: Inside) -> None:
    result = inside.sh(
        "(sleep 1; echo late; echo late err >&2) & echo now; echo err >&2; exit 3"
    )
    assert result.code == 3
    assert result.lines == ["now", "late"]
    assert result.errors == "err\nlate err\n"
    # The client stays for as long as somebody may still write.
    assert result.seconds >= 1


def test_every_exit_code_is_the_commands(inside: Inside) -> None:
    codes = [0, 1, 2, 63, 64, 100, 125, 126, 127, 128, 129, 137, 143, 254, 255]
    found = inside.same(
        lambda docker, container: [
            docker.exec(container, "sh", "-c", f"exit {code}").code for code in codes
        ]
    )
    assert found == codes


@pytest.mark.parametrize(("signal", "code"), [("TERM", 143), ("KILL", 137)])
def test_an_end_by_a_signal_is_128_and_the_signal(
    inside: Inside, signal: str, code: int
) -> None:
    assert inside.sh(f"kill -{signal} $$").code == code


@pytest.mark.core
@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("absent", "executable file not found in $PATH"),
        ("/srv/readonly", "permission denied"),
    ],
)
def test_a_command_that_cannot_run_is_named_with_the_reason(
    inside: Inside, command: str, reason: str
) -> None:
    def scenario(docker: Docker, container: str) -> int:
        result = docker.exec(container, command)
        # dockerd itself writes the reason to the process's stdout.
        said = result.errors + result.stdout.decode()
        assert command in said and reason in said, said
        return result.code

    # Which of the two an absent command gets depends on the engine's version.
    assert inside.same(scenario) in (126, 127)


def test_fifty_at_once_do_not_mix(inside: Inside) -> None:
    def one(docker: Docker, container: str, number: int) -> tuple[int, bytes, bytes]:
        result = docker.exec(
            "--interactive",
            container,
            "sh",
            "-c",
            f"cat; for i in 1 2 3; do echo {number} $i; echo e{number} >&2; done; exit {number}",
            stdin=b"in %d\n" % number,
        )
        return result.code, result.stdout, result.stderr

    def scenario(docker: Docker, container: str) -> list[tuple[int, bytes, bytes]]:
        with ThreadPoolExecutor(50) as pool:
            return list(pool.map(lambda n: one(docker, container, n), range(50)))

    for number, result in enumerate(inside.same(scenario)):
        out = b"in %d\n" % number + b"".join(
            b"%d %d\n" % (number, i) for i in (1, 2, 3)
        )
        assert result == (number, out, b"e%d\n" % number * 3)


def test_two_hundred_with_three_streams_are_open_at_once(inside: Inside) -> None:
    # By the engine's API: so many docker commands would be another test.
    def scenario(docker: Docker, container: str) -> list[bytes]:
        patience = int(allowed(60))
        client = APIClient(f"unix://{docker.pair.docker_socket}", timeout=patience)
        with closing(client), ExitStack() as stack:
            opened = []
            for _ in range(200):
                made = client.exec_create(container, ["cat"], stdin=True)
                connection = client.exec_start(made["Id"], socket=True)
                # The socket lives on beside the file that the library makes of it.
                stack.enter_context(closing(connection._sock))
                opened.append(stack.enter_context(closing(connection)))
            for number, connection in enumerate(opened):
                connection._sock.sendall(b"%d\n" % number)
                connection._sock.shutdown(socket.SHUT_WR)
            return [
                b"".join(data for _, data in frames_iter(connection, tty=False))
                for connection in opened
            ]

    assert inside.same(scenario) == [b"%d\n" % number for number in range(200)]


@pytest.mark.core
def test_a_detached_one_goes_on_by_itself(inside: Inside) -> None:
    def scenario(docker: Docker, container: str) -> bytes:
        script = "sleep 0.3; echo done >/tmp/detached"
        docker.exec("--detach", container, "sh", "-c", script).ok()
        until(
            "the detached process wrote",
            lambda: docker.exec(container, "test", "-s", "/tmp/detached").code == 0,
        )
        return docker.exec(container, "cat", "/tmp/detached").stdout

    assert inside.same(scenario) == b"done\n"


def test_it_shares_processes_and_mounts_with_the_container(inside: Inside) -> None:
    assert inside.sh("ps -o pid,args | grep -c '[t]rap'").ok().text == "1"
    assert inside.sh("readlink /proc/1/ns/pid | cut -d: -f1").ok().text == "pid"
    same = inside.sh(
        'for n in pid mnt net uts ipc; do [ "$(readlink /proc/1/ns/$n)" = '
        '"$(readlink /proc/self/ns/$n)" ] && echo $n; done'
    )
    assert same.ok().text.split() == ["pid", "mnt", "net", "uts", "ipc"]


def test_privileged_gives_all_capabilities_to_it_alone(inside: Inside) -> None:
    both = inside.sh(
        "grep -E 'Cap(Prm|Eff|Bnd)|Seccomp:' /proc/self/status", "--privileged"
    ).ok()
    plain = inside.sh("grep -E 'Cap(Prm|Eff|Bnd)' /proc/self/status").ok()
    assert both.stdout != plain.stdout


def test_a_container_that_has_divided_its_cgroup_takes_more(both: Both) -> None:
    # As systemd and engines do: their cgroup hands controllers on and holds nobody.
    # Under runc on a host with cgroup v1 there is nothing to divide.
    script = (
        "cd /sys/fs/cgroup; [ ! -e cgroup.controllers ] || {"
        " mkdir inner; echo $$ >inner/cgroup.procs; echo +pids >cgroup.subtree_control; }"
        " && echo divided; exec sleep 1000"
    )
    options = ("--privileged", "--cgroupns", "private")

    def scenario(docker: Docker) -> Result:
        with docker.container(*options, argv=("sh", "-c", script)) as container:
            until(
                "the cgroup is divided",
                lambda: docker("logs", container).lines == ["divided"],
            )
            return docker.exec(container, "sh", "-c", "echo inside; exit 3")

    result = both.same(scenario)
    assert (result.code, result.lines) == (3, ["inside"])


@pytest.mark.core
def test_a_container_that_has_ended_takes_no_more(both: Both) -> None:
    def scenario(docker: Docker) -> int:
        with docker.container(argv=("true",)) as container:
            docker.wait(container)
            refused = docker.exec(container, "true")
            assert "is not running" in refused.errors
            return refused.code

    assert both.same(scenario) == 1
