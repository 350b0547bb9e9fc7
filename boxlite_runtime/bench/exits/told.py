# SPDX-License-Identifier: Apache-2.0
"""Counts of exits as text and as tables of the page.

Owns: what of a measure is shown, and in what order. Does not own: the rest of
text and page, which call this for a record of exits.
"""

import statistics
from collections.abc import Sequence

from boxlite_runtime.bench.exits.counts import (
    EXITS,
    KINDS,
    MMIO,
    MSR,
    STEADY,
    TO_QEMU,
)
from boxlite_runtime.bench.record import Measure, Record

#: The kind of a record of exits.
KIND = "exits"
#: What is less than this share of its kind's sum is told together.
SMALL = 0.01

METHOD = """\
How often the guest's processors leave it for the host's kernel, by reason, and
how often that goes on to QEMU: the kernel's own histograms of its KVM events,
of one machine's threads. All that happens from the beginning of the command until
half a second after its end counts; of files, streams and requests many are done
at once, and what the command itself costs is taken off. Spread is the distance
of the least from the most, beside the median. Interrupts, their windows and
writes of the processor's registers come with the ticks of clocks: the slower or
busier a host, the more of them. What is left without these is *steady*."""


def number(value: float) -> str:
    """Return a count with the digits that mean something."""
    whole = value >= 100 or float(value).is_integer()
    return f"{value:.0f}" if whole else f"{value:.1f}"


def spread(values: Sequence[float]) -> str:
    """Return how far values lie apart, as a share of their median."""
    median = statistics.median(values)
    if not median:
        return "" if max(values) else "0 %"
    return f"{100 * (max(values) - min(values)) / median:.0f} %"


def sums(measure: Measure) -> list[str]:
    """Return the cells of a measure's sums, as ``HEAD`` names them."""
    values, steady = measure.values[EXITS], measure.values[STEADY]
    shares = (statistics.median(values), min(values), max(values))
    return [
        str(len(values)), *map(number, shares), spread(values),
        number(statistics.median(steady)), spread(steady),
    ]  # fmt: skip


HEAD = ("runs", "median", "min", "max", "spread", "steady", "its spread")


def parts(measure: Measure, kind: str) -> str:
    """Return the reasons of one kind with their medians, the largest first."""
    medians = {
        name.removeprefix(f"{kind}: "): statistics.median(values)
        for name, values in measure.values.items()
        if name.startswith(f"{kind}: ")
    }
    least = SMALL * sum(medians.values())
    shown = {name: value for name, value in medians.items() if 0 < value >= least}
    ordered = sorted(shown.items(), key=lambda item: (-item[1], item[0]))
    told = [f"{number(value)} {name}" for name, value in ordered]
    rest = sum(value for name, value in medians.items() if name not in shown)
    return ", ".join([*told, *([f"{number(rest)} others"] if rest else [])])


def _counted(record: Record) -> list[Measure]:
    """Return what was counted; what failed has a note instead."""
    return [measure for measure in record.measures if measure.values]


def lines(record: Record) -> list[str]:
    """Return the text for the end of a run, a block for each measure."""
    width = max(map(len, KINDS))
    found: list[str] = []
    for measure in _counted(record):
        runs, median, least, most, apart, steady, between = sums(measure)
        found += [
            f"{measure.name}: {median} exits ({least} to {most} in {runs}, {apart}),"
            f" {steady} of them steady ({between})"
        ]
        for kind in KINDS:
            told = parts(measure, kind)
            found += [f"  {kind.ljust(width)}  {told}"] if told else []
        found.append("")
    return found


def tables(record: Record) -> list[tuple[int, list[list[str]]]]:
    """Return the tables of the page, each with its head among the rows.

    Before each is told how many columns after the first hold numbers.
    """
    reasons = [["Of", *(word.capitalize() for word in HEAD), "By reason, medians"]]
    more = [["Of", "To QEMU", "Registers of devices", "Registers of the processor"]]
    for measure in _counted(record):
        reasons.append([measure.name, *sums(measure), parts(measure, EXITS)])
        of = [parts(measure, kind) for kind in (TO_QEMU, MMIO, MSR)]
        more.append([measure.name, *of])
    return [(len(HEAD), reasons), (0, more)]
