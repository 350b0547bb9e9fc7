# SPDX-License-Identifier: Apache-2.0
"""Every byte written by a container arrives, and every byte sent to it."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from tests.engines import images
from tests.engines.command import Result
from tests.engines.docker import Docker
from tests.engines.images import IMAGE
from tests.engines.waiting import until
from tests.system.both import Both

MEGABYTE = images.blob()[: 1 << 20]


@pytest.mark.core
def test_stdin_is_echoed_byte_for_byte_and_ends(both: Both) -> None:
    result = both.run("--interactive", IMAGE, "cat", stdin=MEGABYTE)
    assert result.code == 0 and result.stdout == MEGABYTE


def test_output_after_the_end_of_stdin_arrives(both: Both) -> None:
    result = both.sh("sha256sum; echo after", "--interactive", stdin=MEGABYTE)
    digest = hashlib.sha256(MEGABYTE).hexdigest()
    assert result.ok().lines == [f"{digest}  -", "after"]


def test_without_interactive_stdin_is_empty(both: Both) -> None:
    result = both.sh("cat; echo end; cat /dev/stdin; echo $?", stdin=b"not wanted")
    assert result.ok().lines[:1] == ["end"]


@pytest.mark.core
def test_stdout_and_stderr_are_apart_and_byte_exact(both: Both) -> None:
    # Both at once, so that one waiting for the other would show.
    result = both.sh("cat /srv/blob >&2 & cat /srv/noise; wait; exit 3")
    assert result.code == 3
    assert result.stdout == images.noise() and result.stderr == images.blob()


def test_a_burst_right_before_the_exit_arrives_whole(both: Both) -> None:
    result = both.run(IMAGE, "cat", "/srv/blob")
    assert result.code == 0 and result.stdout == images.blob()


@pytest.mark.core
def test_logs_hold_what_was_written_in_order_and_apart(both: Both) -> None:
    script = "for i in $(seq 2000); do echo out $i; echo err $i >&2; done; printf end"

    def scenario(docker: Docker) -> Result:
        with docker.container(argv=("sh", "-c", script)) as container:
            assert docker.wait(container) == 0
            return docker("logs", container).ok()

    logs = both.same(scenario)
    numbers = range(1, 2001)
    assert logs.stdout == b"".join(b"out %d\n" % i for i in numbers) + b"end"
    assert logs.stderr == b"".join(b"err %d\n" % i for i in numbers)


@pytest.mark.core
def test_stdin_outlives_the_client_that_wrote_to_it(both: Both) -> None:
    def attached(docker: Docker, container: str, line: bytes) -> bytes:
        with docker.background("attach", container, stdin=subprocess.PIPE) as client:
            assert client.stdin is not None and client.stdout is not None
            client.stdin.write(line)
            client.stdin.flush()
            return client.stdout.readline()

    def scenario(docker: Docker) -> object:
        with docker.container("--interactive", argv=("cat",)) as container:
            return (
                attached(docker, container, b"one\n"),
                attached(docker, container, b"two\n"),
                docker.state(container)["Running"],
            )

    assert both.same(scenario) == (b"one\n", b"two\n", True)


def test_a_reader_that_stops_stops_nothing_else(both: Both) -> None:
    def scenario(docker: Docker) -> object:
        endless = ("sh", "-c", "trap 'exit 5' TERM; yes & wait")
        with (
            docker.container("--log-driver", "none", argv=endless) as stalled,
            docker.container() as other,
        ):
            # Nobody reads from this client's stdout.
            with docker.background("attach", stalled) as client:
                until("the client's pipe is full", lambda: _waiting(client.pid))
                inside = docker.exec(stalled, "echo", "inside").ok().text
                beside = docker.exec(other, "echo", "beside").ok().text
            # dockerd itself ends no container whose reader has stopped.
            docker("stop", stalled).ok()
            return inside, beside, docker.state(stalled)["ExitCode"]

    assert both.same(scenario) == ("inside", "beside", 5)


def _waiting(pid: int) -> bool:
    """Tell whether some thread of a process waits to write to a full pipe."""
    return any(
        "pipe_write" in (task / "wchan").read_text()
        for task in Path(f"/proc/{pid}/task").iterdir()
    )
