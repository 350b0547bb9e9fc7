# SPDX-License-Identifier: Apache-2.0
"""What ``boxlite`` promises to a shell: messages and exit codes."""

import json
from pathlib import Path

import click
import pytest

from boxlite_runtime import cli
from boxlite_runtime.errors import BoxliteError, ExitCode


def call(*words: str) -> int:
    """Run ``boxlite`` in this process and return its exit code."""
    with pytest.raises(SystemExit) as left:
        cli.main(list(words))
    return int(left.value.code or 0)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> dict[str, BaseException]:
    """Add a command ``fail`` that raises what the returned dict holds."""
    holder: dict[str, BaseException] = {}

    @click.command()
    def fail() -> None:
        raise holder["error"]

    monkeypatch.setattr(cli, "_fail", fail, raising=False)
    monkeypatch.setitem(cli.COMMANDS, "fail", "boxlite_runtime.cli:_fail")
    return holder


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_of_the_table_exists_and_has_help(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(name, "--help") == ExitCode.OK
    assert capsys.readouterr().out.startswith(f"Usage: boxlite {name}")


def test_an_expected_failure_is_a_message_a_hint_and_a_code(
    command: dict[str, BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    command["error"] = BoxliteError(
        "it broke", hint="mend it", exit_code=ExitCode.HOST_UNFIT
    )

    assert call("fail") == ExitCode.HOST_UNFIT
    assert capsys.readouterr().err == "boxlite: it broke\n  mend it\n"


def test_debug_adds_the_traceback(
    command: dict[str, BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    command["error"] = BoxliteError("it broke")

    assert call("--debug", "fail") == ExitCode.FAILURE
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_is_130(command: dict[str, BaseException]) -> None:
    command["error"] = KeyboardInterrupt()

    assert call("fail") == ExitCode.INTERRUPTED


def test_an_unknown_command_is_a_usage_error() -> None:
    assert call("no-such-command") == ExitCode.USAGE


def test_doctor_tells_the_same_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    code = call("doctor", "--json")
    findings = json.loads(capsys.readouterr().out)

    problems = [f for f in findings if f["level"] == "problem"]
    assert code == (ExitCode.FAILURE if problems else ExitCode.OK)
    assert {"check", "level", "says", "cure", "about"} == set(findings[0])


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    assert call("uninstall", "--dry-run", "--root", str(tmp_path)) == ExitCode.OK
    assert list(tmp_path.iterdir()) == []
