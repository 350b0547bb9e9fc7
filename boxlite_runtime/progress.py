# SPDX-License-Identifier: Apache-2.0
"""Tells a person on stderr that something long is still going on.

Owns: the lines about steps. Does not own: results, which go to stdout.
On a terminal a step is one live line; elsewhere it is a start line, a
heartbeat, and an end line, so that a log shows where the time went.
"""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

#: Seconds between heartbeats when stderr is not a terminal.
HEARTBEAT = 15.0
#: Seconds between redraws of the live line.
REDRAW = 0.5


class Step:
    """A step under way. ``note`` says what it is at, without ending it."""

    def __init__(self, title: str, out: TextIO) -> None:
        self.title = title
        self._out = out
        self._tty = out.isatty()
        self._note = ""
        self._began = time.monotonic()
        self._done = threading.Event()

    def note(self, text: str) -> None:
        """Show ``text`` beside the title at the next redraw or heartbeat."""
        self._note = text

    @property
    def elapsed(self) -> float:
        """Seconds since the step began."""
        return time.monotonic() - self._began

    def _line(self, mark: str) -> str:
        note = f" ({self._note})" if self._note else ""
        return f"{mark} {self.title}{note}"

    def _beat(self) -> None:
        pause = REDRAW if self._tty else HEARTBEAT
        while not self._done.wait(pause):
            if self._tty:
                # Cut to a common width: a line that wraps cannot be redrawn.
                text = f"{self._line('...')[:68]} {self.elapsed:.0f} s"
                self._out.write(f"\r\x1b[K{text}")
            else:
                self._out.write(f"{self._line('...')} {self.elapsed:.0f} s\n")
            self._out.flush()

    def _open(self) -> threading.Thread:
        if not self._tty:
            self._out.write(f"==> {self.title}\n")
            self._out.flush()
        beat = threading.Thread(target=self._beat, name="progress", daemon=True)
        beat.start()
        return beat

    def _close(self, beat: threading.Thread, outcome: str) -> None:
        self._done.set()
        beat.join()
        start = "\r\x1b[K" if self._tty else ""
        self._out.write(f"{start}{outcome} {self.title} ({self.elapsed:.1f} s)\n")
        self._out.flush()


@contextmanager
def step(title: str, *, out: TextIO | None = None) -> Iterator[Step]:
    """Announce a step for as long as the block runs.

    An exception marks the step as failed and passes through unchanged.
    """
    current = Step(title, sys.stderr if out is None else out)
    beat = current._open()
    outcome = "failed:"
    try:
        yield current
        outcome = "done:"
    finally:
        current._close(beat, outcome)
