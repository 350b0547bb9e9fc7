# SPDX-License-Identifier: Apache-2.0
"""The tests' door to other programs: bytes in, bytes out, never for ever.

Owns: starting a program in a session of its own, a hard timeout, and ending
the whole session. Does not own: what to run. The product's own door
(``boxlite_runtime.process``) decodes text; a test of stdio needs the bytes.

Call order: ``run`` for a program that ends by itself, ``background`` for one
that the test talks to while it runs.
"""

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from os import PathLike, fspath

from tests.engines.waiting import allowed

Word = str | PathLike[str]

#: Seconds after which a program is taken for hung, on a host of full speed.
TIMEOUT = 60.0


@dataclass(frozen=True)
class Result:
    """How a program ended and every byte it wrote; ``seconds`` is wall time."""

    code: int
    stdout: bytes
    stderr: bytes
    seconds: float = field(compare=False)
    argv: tuple[str, ...] = field(compare=False, repr=False)

    @property
    def text(self) -> str:
        """stdout as text, without the last line end."""
        return self.stdout.decode().removesuffix("\n")

    @property
    def lines(self) -> list[str]:
        """The lines of stdout."""
        return self.stdout.decode().splitlines()

    @property
    def errors(self) -> str:
        """stderr as text."""
        return self.stderr.decode(errors="replace")

    def ok(self) -> "Result":
        """Return this result; fail with what the program said if it failed."""
        assert self.code == 0, (
            f"{shlex.join(self.argv)} ended with {self.code}\n"
            f"{self.errors}{self.stdout[-2000:].decode(errors='replace')}"
        )
        return self


class TookTooLong(AssertionError):
    """A program did not end in time; what it wrote until then is in the text."""


def run(
    argv: Sequence[Word],
    *,
    stdin: bytes = b"",
    timeout: float = TIMEOUT,
    env: Mapping[str, str] | None = None,
) -> Result:
    """Run a program to its end, feeding it ``stdin`` and then end of file.

    ``timeout`` is in seconds of a host of full speed (``waiting.allowed``).
    """
    timeout = allowed(timeout)
    began = time.monotonic()
    with background(argv, stdin=subprocess.PIPE, env=env) as process:
        try:
            out, err = process.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired as expired:
            end_session(process)
            out, err = process.communicate()
            raise TookTooLong(
                f"not finished after {timeout:g} s: "
                f"{shlex.join(fspath(word) for word in argv)}\n"
                f"stdout: {out[-2000:]!r}\nstderr: {err[-2000:]!r}"
            ) from expired
    return Result(
        process.returncode,
        out,
        err,
        time.monotonic() - began,
        tuple(fspath(word) for word in argv),
    )


@contextmanager
def background(
    argv: Sequence[Word],
    *,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
    env: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program for as long as the block lasts; end it when that is over.

    A session of its own keeps a Ctrl-C at the test from reaching the program
    before the test has cleaned up.
    """
    process = subprocess.Popen(
        [fspath(word) for word in argv],
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=None if env is None else {**os.environ, **env},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            end_session(process)
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


def end_session(process: subprocess.Popen[bytes]) -> None:
    """Kill a program started by ``background`` and everything it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
