# SPDX-License-Identifier: Apache-2.0
"""How a container ends is what its engine reports."""

import pytest

from tests.engines.command import Result
from tests.engines.docker import Docker
from tests.engines.images import IMAGE
from tests.system.both import Both


@pytest.mark.parametrize(
    "code",
    [0, 1, pytest.param(42, marks=[pytest.mark.core, pytest.mark.storage]), 255],
)
def test_the_exit_code_is_the_commands(both: Both, code: int) -> None:
    assert both.sh(f"exit {code}").code == code


def test_an_end_by_a_signal_is_128_and_the_signal(both: Both) -> None:
    # PID 1 ignores signals it has no handler for; --init puts another there.
    assert both.sh("kill -TERM $$", "--init").code == 128 + 15
    assert both.sh("kill -SEGV $$", "--init").code == 128 + 11


def failure(docker: Docker, *words: str) -> tuple[Result, dict[str, object]]:
    """Return a failed run and the state its container is left in."""
    created = docker("create", "--runtime", docker.runtime, *words).ok().text
    with docker.removal(created):
        result = docker("start", "--attach", created)
        state = docker.state(created)
        assert state["Error"], "the reason of the failure is not in the state"
        return result, {key: state[key] for key in ("Status", "ExitCode", "Pid")}


@pytest.mark.parametrize(
    ("command", "code", "reason"),
    [
        pytest.param(
            "absent",
            127,
            "executable file not found in $PATH",
            marks=pytest.mark.core,
        ),
        ("/srv/absent", 127, "no such file or directory"),
        ("/srv/readonly", 126, "permission denied"),
        ("/srv", 126, "permission denied"),
    ],
)
def test_a_command_that_cannot_run_is_named_with_the_reason(
    both: Both, command: str, code: int, reason: str
) -> None:
    def scenario(docker: Docker) -> object:
        result = docker.run("--rm", IMAGE, command)
        assert command in result.errors, result.errors
        assert reason in result.errors or "is a directory" in result.errors
        return result.code, result.stdout

    assert both.same(scenario) == (code, b"")


@pytest.mark.core
def test_a_container_whose_command_is_absent_was_created_and_never_ran(
    both: Both,
) -> None:
    state = both.same(lambda docker: failure(docker, IMAGE, "absent")[1])
    assert state == {"Status": "created", "ExitCode": 127, "Pid": 0}
