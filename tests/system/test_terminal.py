# SPDX-License-Identifier: Apache-2.0
"""A container on a terminal behaves as a program on a terminal."""

import pytest

from tests.engines.command import Word
from tests.engines.docker import Docker
from tests.engines.images import IMAGE
from tests.engines.terminal import terminal
from tests.system.both import Both

#: Says when the window has ROWS COLUMNS; the engine may set it a moment late.
AWAIT = (
    'await() { until [ "$(stty size)" = "$1" ]; do sleep 0.05; done; echo "is $1"; }'
)


def resized(argv: list[Word]) -> int:
    """Resize a terminal under a shell that waits for it; return its exit code."""
    with terminal(argv, rows=31, columns=117) as screen:
        screen.expect(b"is 31 117\r\n")
        screen.resize(40, 132, shown=b"is 40 132\r\n")
        screen.expect(b"told\r\n")
        screen.type(b"typed\n")
        screen.expect(b"got typed\r\n")
        return screen.end()


RESIZE = (
    f"{AWAIT}; trap 'told=1' WINCH; await '31 117'; await '40 132';"
    "until [ $told ]; do sleep 0.05; done; echo told;"
    # A signal ends read: the engine may set the first size once more in between.
    "until read line; do :; done; echo got $line; exit 6"
)


@pytest.mark.core
@pytest.mark.kvm
def test_the_size_of_the_window_follows_and_is_signalled(both: Both) -> None:
    def scenario(docker: Docker) -> int:
        words = ("run", "--rm", "-it", "--runtime", docker.runtime, IMAGE)
        return resized(docker.argv(*words, "sh", "-c", RESIZE))

    assert both.same(scenario) == 6


def test_exec_has_a_terminal_of_its_own(both: Both) -> None:
    with both.containers() as inside:
        code = inside.same(
            lambda docker, container: resized(
                docker.argv("exec", "-it", container, "sh", "-c", RESIZE)
            )
        )
        assert code == 6


def test_it_is_a_terminal_with_name_and_line_discipline(both: Both) -> None:
    script = (
        "for fd in 0 1 2; do [ -t $fd ] || echo no $fd; done; tty; echo $TERM;"
        "echo to stderr >&2; stty -a | grep -o '[-]*icrnl\\|[-]*onlcr\\|[-]*echo\\b'"
    )

    def scenario(docker: Docker) -> bytes:
        words = ("run", "--rm", "-it", "--runtime", docker.runtime, IMAGE)
        with terminal(docker.argv(*words, "sh", "-c", script)) as screen:
            assert screen.end() == 0
            return screen.seen

    shown = both.same(scenario)
    assert b"/dev/pts/0\r\nxterm\r\nto stderr\r\n" in shown


def test_ctrl_c_interrupts_the_program_in_the_foreground(both: Both) -> None:
    script = "trap 'echo caught; exit 4' INT; echo ready; while :; do sleep 0.1; done"

    def scenario(docker: Docker) -> tuple[int, bytes]:
        words = ("run", "--rm", "-it", "--runtime", docker.runtime, IMAGE)
        with terminal(docker.argv(*words, "sh", "-c", script)) as screen:
            screen.expect(b"ready\r\n")
            screen.type(b"\x03")
            return screen.end(), screen.seen

    assert both.same(scenario) == (4, b"^Ccaught\r\n")
