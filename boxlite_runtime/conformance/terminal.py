# SPDX-License-Identifier: Apache-2.0
"""Runs a command at a pseudo-terminal and types into it.

Owns: the terminal, its size, waiting for text before the next key. Does not
own: which command runs.
"""

import fcntl
import os
import pty
import re
import select
import struct
import termios
import time
from collections.abc import Sequence
from contextlib import suppress

from boxlite_runtime import process
from boxlite_runtime.conformance.case import Keystroke
from boxlite_runtime.conformance.engines.engine import TIMEOUT, Outcome

ROWS, COLUMNS = 33, 101


def converse(argv: Sequence[str], keys: Sequence[Keystroke]) -> Outcome:
    """Run ``argv`` at a terminal, typing each key when its text has shown.

    All that showed is the outcome's stdout; a text that does not come, or a
    command that does not end, is an exit of -1 with the reason in stderr.
    """
    master, slave = pty.openpty()
    try:
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        with process.attached(argv, slave) as running:
            os.close(slave)
            slave = -1
            screen = _Screen(master, time.monotonic() + TIMEOUT)
            for key in keys:
                if not screen.shows(key.after):
                    return Outcome(-1, screen.text, f"{key.after!r} did not show")
                os.write(master, key.send.encode())
            screen.shows(None)
            left = max(0.1, screen.deadline - time.monotonic())
            code = running.wait(left) if screen.ended else -1
            return Outcome(code, screen.text, "" if screen.ended else "it did not end")
    finally:
        os.close(master)
        if slave >= 0:
            os.close(slave)


class _Screen:
    """All that a terminal has shown; ``shows`` waits for more."""

    def __init__(self, master: int, deadline: float) -> None:
        self.deadline = deadline
        self.ended = False
        self._master = master
        self._seen = b""
        self._at = 0

    @property
    def text(self) -> str:
        """What was shown, with the line ends of a terminal taken back."""
        return self._seen.decode("utf-8", "replace").replace("\r\n", "\n")

    def shows(self, pattern: str | None) -> bool:
        """Wait until ``pattern`` shows after the last one, or to the end."""
        while True:
            if pattern is not None:
                found = re.search(pattern.encode(), self._seen[self._at :])
                if found:
                    self._at += found.end()
                    return True
            left = self.deadline - time.monotonic()
            if self.ended or left <= 0:
                return False
            readable, _, _ = select.select([self._master], [], [], left)
            data = b""
            if readable:
                # The end of the other side is EIO, not an end of file.
                with suppress(OSError):
                    data = os.read(self._master, 65536)
                self.ended = not data
            self._seen += data
