# SPDX-License-Identifier: Apache-2.0
"""How an emulated host ended, told from what it has left behind. Pure.

Owns: telling a job that failed from a host that did. TCG's emulation of SVM can
itself make the host's kernel panic, once in a long while; that says nothing of what
was tested. It can also end a machine in that host, once in some hundred boots: its
processor is shut down while it takes an interrupt. What does that to a processor that
works is a machine without descriptor tables, so it is told and excuses nothing.
"""

import re
from dataclasses import dataclass
from enum import Enum

#: Lines of the console that are shown.
LAST = 15
#: What the kernel says when it gives up; with oops=panic, of whatever it cannot
#: go on from.
PANIC = re.compile(r"Kernel panic - not syncing.*")
#: Control characters, which a console may hold and a log should not.
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[^\n\t -~]")


class Kind(Enum):
    """How it ended."""

    JOB = "the job ended"
    EXPIRED = "the job was past its time"
    PANICKED = "the kernel of the emulated host panicked"
    GONE = "the emulated host ended without a word"
    UNBOOTED = "the emulated host did not boot"


@dataclass(frozen=True)
class Ending:
    """How a host ended; ``code`` is the job's own, where that is how."""

    kind: Kind
    code: int | None = None
    #: What tells why: the words of the kernel and of QEMU.
    words: tuple[str, ...] = ()
    #: Machines whose processor was shut down while it took an interrupt.
    shut_down: int = 0

    @property
    def host_failed(self) -> bool:
        """Tell whether it was the host that gave up, while the job was at work."""
        return self.kind in (Kind.PANICKED, Kind.GONE)

    def told(self) -> str:
        """Return the ending in words, on as many lines as it takes."""
        if self.kind is Kind.JOB:
            told = f"{self.kind.value} with {self.code}"
            if self.code and self.shut_down:
                told += f"; machines shut down while they took an interrupt, which TCG's emulation of SVM is known to do: {self.shut_down}"
            return told
        return "\n".join(
            [f"{self.kind.value}:", *(f"  | {line}" for line in self.words)]
        )


def tell(
    *, status: str, console: str, qemu: str, expired: bool, shutdowns: str = ""
) -> Ending:
    """Return how a host ended.

    ``status`` is what it has said of its job, ``console`` and ``qemu`` what its
    console and its QEMU have shown, ``expired`` whether it was ended from outside,
    ``shutdowns`` KVM's trace of machines whose processor was shut down.
    """
    ended = re.search(r"^ended (\d+)$", status, re.MULTILINE)
    if ended:
        return Ending(Kind.JOB, int(ended[1]), shut_down=_interrupted(shutdowns))
    last = tuple(_lines(console)[-LAST:])
    panic = PANIC.search(console)
    if panic:
        shown = _lines(console[max(0, panic.start() - 2000) :])
        return Ending(Kind.PANICKED, words=(_lines(panic[0])[0], *shown[-LAST:]))
    if "started" not in status:
        return Ending(Kind.UNBOOTED, words=(*_lines(qemu)[-LAST:], *last))
    if expired:
        return Ending(Kind.EXPIRED, words=last)
    return Ending(Kind.GONE, words=(*_lines(qemu)[-LAST:], *last))


def _interrupted(trace: str) -> int:
    """Return how many processors were taking an interrupt when they were shut down.

    One that shuts itself down, as a kernel does to end its machine, is taking an
    exception of its own: AMD64 Architecture Programmer's Manual 2, EXITINTINFO.
    """
    taken = (int(found, 16) for found in re.findall(r"intr_info (0x[0-9a-f]+)", trace))
    return sum(1 for what in taken if what >> 31 & 1 and what >> 8 & 7 == 0)


def _lines(text: str) -> list[str]:
    """Return the lines that say something, without control characters."""
    lines = (CONTROL.sub("", line).rstrip() for line in text.splitlines())
    return [line for line in lines if line]
