# SPDX-License-Identifier: Apache-2.0
"""From the kernel's histograms to counts by reason.

Owns: which events are counted, by which of their fields, and the arithmetic of
counts. Does not own: how a histogram is had (``trace``).

A machine is told by the threads of its QEMU, which the kernel puts into each
entry as common_pid: entries are kept of every machine on the host, and those
of one are summed up afterwards. So a start can be counted, whose pid nobody
knows before: when it is over, its machine runs and its threads can be listed. A
filter by pid would have to be set before, and one that follows forks would take
in all that the engine starts.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass

from boxlite_runtime.bench.exits import reasons
from boxlite_runtime.bench.exits.histogram import Entry
from boxlite_runtime.bench.record import Measure

#: What was counted -> how often. Each kind of event has a sum under its own
#: name, and a part for each reason: "exits" and "exits: npf".
Counts = Mapping[str, float]

#: The kinds of events, in the order in which they are told.
EXITS, TO_QEMU, MMIO, MSR = KINDS = ("exits", "to QEMU", "MMIO", "MSR")
#: The exits that are not a clock's: the same on a host that is slow or busy.
STEADY = "steady"


@dataclass(frozen=True)
class Event:
    """An event below events/kvm.

    ``keys`` are the fields by which it is counted beside the thread; ``named``
    makes a reason of them, or ``None`` of what is not to be counted.
    """

    name: str
    kind: str
    keys: tuple[str, ...]
    named: Callable[[Mapping[str, int]], str | None]

    @property
    def trigger(self) -> str:
        """Return the command that has the kernel keep a histogram."""
        return f"hist:keys={','.join(('common_pid', *self.keys))}:size=8192"


EVENTS = (
    Event(
        "kvm_exit", EXITS, ("isa", "exit_reason"),
        lambda keys: reasons.exit_name(keys["isa"], keys["exit_reason"]),
    ),
    Event(
        "kvm_userspace_exit", TO_QEMU, ("reason",),
        lambda keys: reasons.userspace_name(keys["reason"]),
    ),
    Event("kvm_mmio", MMIO, ("type",), lambda keys: reasons.MMIO.get(keys["type"])),
    Event(
        "kvm_msr", MSR, ("write", "ecx"),
        lambda keys: reasons.msr_name(keys["ecx"], write=bool(keys["write"])),
    ),
)  # fmt: skip


def part(kind: str, reason: str) -> str:
    """Return the name of one reason's part of a kind."""
    return f"{kind}: {reason}"


def of(event: Event, entries: Sequence[Entry], threads: Set[int]) -> dict[str, float]:
    """Return what the threads of a machine have of an event's histogram."""
    sums = [event.kind, *([STEADY] if event.kind == EXITS else [])]
    found: dict[str, float] = dict.fromkeys(sums, 0.0)
    for entry in entries:
        reason = event.named(entry.keys)
        if reason is None or entry.keys["common_pid"] not in threads:
            continue
        its = [name for name in sums if name != STEADY or reason not in reasons.TIMED]
        for name in (*its, part(event.kind, reason)):
            found[name] = found.get(name, 0.0) + entry.hits
    return found


def middle(values: Sequence[Counts]) -> Counts:
    """Return the median of each name over several countings."""
    names = dict.fromkeys(name for counts in values for name in counts)
    return {
        name: statistics.median(counts.get(name, 0.0) for counts in values)
        for name in names
    }


def each(counts: Counts, beside: Counts, amount: float) -> Counts:
    """Return the counts of one of ``amount`` things that were done at once.

    What ``beside`` counts was done once to do them all, and is taken off.
    """
    return {
        name: max(0.0, value - beside.get(name, 0.0)) / amount
        for name, value in counts.items()
    }


def measure(name: str, values: Sequence[Counts]) -> Measure:
    """Return several countings of the same as a measure; what is not met is 0."""
    names = dict.fromkeys(name for counts in values for name in counts)
    return Measure(
        name,
        "exits",
        {part: [counts.get(part, 0.0) for counts in values] for part in names},
    )
