# SPDX-License-Identifier: Apache-2.0
"""What a caller can rely on when another program is run."""

import os
import time
from pathlib import Path

import pytest

from boxlite_runtime.errors import BoxliteError, ExitCode
from boxlite_runtime.installer.daemons import process_name
from boxlite_runtime.process import run, stream


def test_output_and_code_are_handed_back() -> None:
    done = run(["sh", "-c", "echo out; echo err >&2; exit 3"], check=False)

    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")


def test_a_failure_holds_the_end_of_stderr_and_the_command_to_paste() -> None:
    with pytest.raises(BoxliteError) as caught:
        run(["sh", "-c", "echo 'no such thing' >&2; exit 4"], env={"A": "b c"})

    assert "no such thing" in caught.value.message
    assert caught.value.hint == (
        "To see it again: A='b c' sh -c 'echo '\"'\"'no such thing'\"'\"' >&2; exit 4'"
    )
    assert caught.value.exit_code is ExitCode.SUBPROCESS


def test_a_missing_program_is_named() -> None:
    with pytest.raises(BoxliteError, match="cannot run no-such-program") as caught:
        run(["no-such-program"])

    assert caught.value.exit_code is ExitCode.HOST_UNFIT


def test_stdin_is_empty_unless_given() -> None:
    assert run(["cat"]).stdout == ""
    assert run(["cat"], input="x").stdout == "x"


def test_the_environment_is_added_to() -> None:
    done = run(["sh", "-c", 'echo "$NEW $PATH"'], env={"NEW": "1"})

    assert done.stdout == f"1 {os.environ['PATH']}\n"


def test_giving_up_also_ends_what_the_program_started(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    began = time.monotonic()

    with pytest.raises(BoxliteError, match="gave up after"):
        run(["sh", "-c", f"sleep 60 & echo $! > {pid_file}; wait"], timeout=0.5)

    assert time.monotonic() - began < 30
    orphan = int(pid_file.read_text())
    # The signal is sent when run returns; the kernel acts on it in its time.
    while process_name(orphan) is not None and time.monotonic() - began < 30:
        time.sleep(0.01)
    assert process_name(orphan) is None


def test_lines_arrive_in_order_from_both_outputs() -> None:
    lines: list[str] = []

    stream(["sh", "-c", "echo a; echo b >&2; echo c"], on_line=lines.append)

    assert lines == ["a", "b", "c"]


def test_a_failed_stream_shows_its_last_lines() -> None:
    with pytest.raises(BoxliteError, match="made it to here"):
        stream(["sh", "-c", "echo made it to here; exit 1"])


def test_an_error_in_the_reader_ends_the_program() -> None:
    def refuse(line: str) -> None:
        raise ValueError(line)

    began = time.monotonic()
    with pytest.raises(ValueError, match="first"):
        stream(["sh", "-c", "echo first; sleep 60"], on_line=refuse)

    assert time.monotonic() - began < 30
