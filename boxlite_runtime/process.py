# SPDX-License-Identifier: Apache-2.0
"""The one door to other programs.

Owns: starting a program, waiting for it, and turning its failure into a
``BoxliteError`` that holds the command to paste and the end of its stderr.
Does not own: what to run. No shell is ever involved.

Call order: ``run`` for something short whose output is wanted afterwards,
``stream`` for a long build whose lines are wanted as they come, ``attached``
for what talks to a terminal.
"""

import os
import shlex
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from os import PathLike, fspath

from boxlite_runtime.errors import BoxliteError, ExitCode

Argv = Sequence[str | PathLike[str]]

#: How many of the last lines of output a failure shows.
TAIL_LINES = 20


@dataclass(frozen=True)
class Completed:
    """What a finished program left behind. Output is decoded as UTF-8."""

    returncode: int
    stdout: str
    stderr: str


def run(
    argv: Argv,
    *,
    input: str | None = None,
    cwd: str | PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    timeout: float | None = None,
) -> Completed:
    """Run a program to its end and hand back its output.

    ``env`` is added to this process's own environment. ``timeout`` is in
    seconds; running out of it, a missing program and (unless ``check`` is
    false) a non-zero exit raise ``BoxliteError``. Without ``input`` the
    program reads an empty stdin, never the terminal.
    """
    words = [fspath(word) for word in argv]
    process = _spawn(words, cwd, env, merge_stderr=False, stdin=input is not None)
    try:
        out, err = process.communicate(
            None if input is None else input.encode(), timeout=timeout
        )
    except subprocess.TimeoutExpired as expired:
        _end_group(process)
        raise BoxliteError(
            f"gave up after {timeout:g} s on: {_command(words, cwd, env)}",
            exit_code=ExitCode.SUBPROCESS,
        ) from expired
    except BaseException:
        _end_group(process)
        raise
    done = Completed(process.returncode, _text(out), _text(err))
    if check and done.returncode != 0:
        tail = (done.stderr.strip() or done.stdout.strip()).splitlines()[-TAIL_LINES:]
        raise _failure(words, cwd, env, done.returncode, tail)
    return done


def stream(
    argv: Argv,
    *,
    on_line: Callable[[str], None] | None = None,
    cwd: str | PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    timeout: float | None = None,
) -> Completed:
    """Run a program and call ``on_line`` with each line as it is written.

    stdout and stderr arrive together, in order, without the line end.
    ``Completed.stdout`` holds the last lines only. Raises as ``run`` does;
    an exception out of ``on_line`` ends the program.
    """
    words = [fspath(word) for word in argv]
    process = _spawn(words, cwd, env, merge_stderr=True, stdin=False)
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    expired = threading.Event()

    def give_up() -> None:
        expired.set()
        _kill_group(process)

    timer = threading.Timer(timeout, give_up) if timeout is not None else None
    if timer is not None:
        timer.start()
    try:
        assert process.stdout is not None  # noqa: S101  (asked for in _spawn)
        for raw in process.stdout:
            line = _text(raw).rstrip("\r\n")
            tail.append(line)
            if on_line is not None:
                on_line(line)
        process.wait()
    except BaseException:
        _end_group(process)
        raise
    finally:
        if timer is not None:
            timer.cancel()
        _close_pipes(process)
    if expired.is_set():
        raise BoxliteError(
            f"gave up after {timeout:g} s on: {_command(words, cwd, env)}",
            exit_code=ExitCode.SUBPROCESS,
        )
    if check and process.returncode != 0:
        raise _failure(words, cwd, env, process.returncode, list(tail))
    return Completed(process.returncode, "\n".join(tail), "")


@contextmanager
def attached(argv: Argv, terminal: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program on a terminal for as long as the block lasts.

    ``terminal`` becomes its stdin, stdout and stderr. What still runs at the
    end of the block is ended. Raises as ``run`` does where it cannot start.
    """
    words = [fspath(word) for word in argv]
    process = _spawn(
        words, None, None, merge_stderr=False, stdin=False, terminal=terminal
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            _end_group(process)


def _spawn(
    words: list[str],
    cwd: str | PathLike[str] | None,
    env: Mapping[str, str] | None,
    *,
    merge_stderr: bool,
    stdin: bool,
    terminal: int | None = None,
) -> subprocess.Popen[bytes]:
    ends: tuple[int, int, int] = (
        subprocess.PIPE if stdin else subprocess.DEVNULL,
        subprocess.PIPE,
        subprocess.STDOUT if merge_stderr else subprocess.PIPE,
    )
    if terminal is not None:
        ends = (terminal, terminal, terminal)
    try:
        return subprocess.Popen(  # noqa: S603  (no shell; the caller owns argv)
            words,
            stdin=ends[0],
            stdout=ends[1],
            stderr=ends[2],
            cwd=cwd,
            env=None if env is None else {**os.environ, **env},
            # A group of its own, so that giving up also ends its children.
            start_new_session=True,
        )
    except FileNotFoundError as missing:
        raise BoxliteError(
            f"cannot run {words[0]}: {missing.strerror}: {missing.filename}",
            hint="Install it, or run install/quickstart, which does.",
            exit_code=ExitCode.HOST_UNFIT,
        ) from missing
    except OSError as refused:
        raise BoxliteError(
            f"cannot run {words[0]}: {refused.strerror}",
            exit_code=ExitCode.HOST_UNFIT,
        ) from refused


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    _kill_group(process)
    process.wait()
    _close_pipes(process)


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", errors="replace")


def _command(
    words: list[str],
    cwd: str | PathLike[str] | None,
    env: Mapping[str, str] | None,
) -> str:
    """Return the line to paste into a shell to do the same again."""
    command = shlex.join(words)
    if env:
        pairs = " ".join(f"{key}={shlex.quote(value)}" for key, value in env.items())
        command = f"{pairs} {command}"
    if cwd is not None:
        command = f"cd {shlex.quote(fspath(cwd))} && {command}"
    return command


def _failure(
    words: list[str],
    cwd: str | PathLike[str] | None,
    env: Mapping[str, str] | None,
    returncode: int,
    tail: list[str],
) -> BoxliteError:
    how = (
        f"was ended by {signal.Signals(-returncode).name}"
        if returncode < 0
        else f"ended with {returncode}"
    )
    lines = "".join(f"\n  | {line}" for line in tail)
    return BoxliteError(
        f"{words[0]} {how}{lines}",
        hint=f"To see it again: {_command(words, cwd, env)}",
        exit_code=ExitCode.SUBPROCESS,
    )
