# SPDX-License-Identifier: Apache-2.0
"""Reads processes and mounts of this host from /proc.

A zombie counts as dead: PID 1 may take seconds to reap an orphan, and that
is no fault of the runtime that left it.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A live process; its command line as it was when looked at."""

    pid: int
    command: str

    @property
    def program(self) -> str:
        """The file name of the first word of the command line."""
        return Path(self.command.split(" ", 1)[0]).name

    def signal(self, number: int) -> None:
        """Send a signal; a process that is gone by now is no error."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)


def alive(pid: int) -> bool:
    """Tell whether ``pid`` runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    # The state follows the name, which is in brackets and may hold brackets.
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def every() -> Iterator[Process]:
    """Yield each live process that has a command line."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                line = (entry / "cmdline").read_bytes().rstrip(b"\0")
                if line and alive(int(entry.name)):
                    words = line.replace(b"\0", b" ").decode(errors="replace")
                    yield Process(int(entry.name), words)


def marked(mark: str) -> list[Process]:
    """Return the live processes whose environment holds ``mark`` (KEY=value)."""
    return [p for p in every() if mark.encode() in _environment(p.pid)]


def doubles(run_directory: Path) -> list[Process]:
    """Return the live doubles of containers of one containerd namespace.

    A double has the command line of its container, so that is no way to tell it.
    """
    start = f"BOXLITE_RUN={run_directory}/".encode()
    return [
        p
        for p in every()
        if any(entry.startswith(start) for entry in _environment(p.pid))
    ]


def naming(text: str) -> list[Process]:
    """Return the live processes with ``text`` in their command line."""
    return [p for p in every() if text in p.command and p.pid != os.getpid()]


def machine(container: str) -> Process:
    """Return the QEMU of a container that runs."""
    (found,) = (p for p in naming(f"guest={container}") if "qemu" in p.program)
    return found


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def mount_points(below: Path) -> list[Path]:
    """Return the mount points at or below a directory, in mount order."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = Path(
            # The kernel writes space, tab, newline and backslash in octal.
            re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), line.split()[4])
        )
        if point == below or below in point.parents:
            found.append(point)
    return found
