# SPDX-License-Identifier: Apache-2.0
"""Drives a command through a pseudo-terminal, as a person would.

Owns: the pty, its size, and waiting for text to appear on it. Does not own:
which command runs.
"""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from os import fspath

from tests.engines.command import Word, end_session
from tests.engines.waiting import allowed


class Terminal:
    """The person's side of a pty; ``seen`` holds every byte shown so far."""

    def __init__(self, master: int, process: subprocess.Popen[bytes]) -> None:
        self._master = master
        self.process = process
        self.seen = b""

    def resize(self, rows: int, columns: int, shown: bytes) -> None:
        """Change the window's size and wait until the program shows ``shown``.

        The docker command hears of a new size only some time after it has set
        the first one, and tells nobody when; so it is told again, as a person
        who keeps dragging the window would.
        """
        _set_size(self._master, rows, columns)
        deadline = time.monotonic() + allowed(15)
        while not self._seen(shown, 0.25) and time.monotonic() < deadline:
            self.process.send_signal(signal.SIGWINCH)
        self.expect(shown, 0.1)

    def type(self, data: bytes) -> None:
        """Type bytes, control characters among them."""
        while data:
            data = data[os.write(self._master, data) :]

    def expect(self, text: bytes, seconds: float = 15.0) -> bytes:
        """Wait for ``text`` after what was expected before; return what led to it."""
        if not self._seen(text, allowed(seconds)):
            raise AssertionError(f"no {text!r} on the terminal: {self.seen!r}")
        before, _, self.seen = self.seen.partition(text)
        return before

    def _seen(self, text: bytes, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            left = deadline - time.monotonic()
            if left <= 0 or not self._read(left):
                return False
        return True

    def end(self, seconds: float = 15.0) -> int:
        """Wait for the command to end and return its exit code."""
        deadline = time.monotonic() + allowed(seconds)
        while (left := deadline - time.monotonic()) > 0 and self._read(left):
            pass
        return self.process.wait(max(0.1, deadline - time.monotonic()))

    def _read(self, seconds: float) -> bool:
        """Take what the command showed; false at the end of the terminal."""
        readable, _, _ = select.select([self._master], [], [], seconds)
        if not readable:
            return False
        # A pty whose other side is closed reports EIO rather than end of file.
        with suppress(OSError):
            data = os.read(self._master, 65536)
            self.seen += data
            return bool(data)
        return False


@contextmanager
def terminal(
    argv: Sequence[Word], rows: int = 24, columns: int = 80
) -> Iterator[Terminal]:
    """Run a command on a terminal of its own for as long as the block lasts."""
    master, slave = pty.openpty()
    _set_size(master, rows, columns)
    process = subprocess.Popen(
        # A session of its own with the pty as its terminal, for SIGWINCH.
        ["setsid", "--ctty", *(fspath(word) for word in argv)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    try:
        yield Terminal(master, process)
    finally:
        if process.poll() is None:
            end_session(process)
            process.wait()
        os.close(master)


def _set_size(fd: int, rows: int, columns: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
