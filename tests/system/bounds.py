# SPDX-License-Identifier: Apache-2.0
"""Holds counts of exits to bounds.

Owns: the comparison, and the form of the file of bounds (``exits.toml``). Does
not own: counting, and the numbers.

A bound is a median that was measured. A count may lie above it by the file's
``tolerance``, a share, and by ``slack``, exits, for what is counted in ones. A
measure with so few that this would let anything pass has a ``slack`` of its own.
The sum of all exits grows with the time a thing takes, and has a tolerance of its
own, ``loose``; so reasons that come with clocks have no bounds. Lower is never
wrong: whoever made it so lowers the bound.

Names of reasons are the processor's, so their bounds hold on hosts with that
``processor`` alone; the two sums hold everywhere. ``others`` bounds together all
steady exits whose reason has no bound, so that a new kind is seen.
"""

import statistics
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from boxlite_runtime.bench.exits.counts import EXITS, STEADY, part
from boxlite_runtime.bench.exits.reasons import TIMED
from boxlite_runtime.bench.record import Measure, Record

#: The bound of all reasons that have none of their own.
OTHERS = "others"


@dataclass(frozen=True)
class Bounds:
    """What a file says. ``measures``: measure -> name of a count -> its bound.

    ``slacks`` are those of measures that have their own.
    """

    tolerance: float
    loose: float
    slack: float
    processor: str
    measures: Mapping[str, Mapping[str, float]]
    slacks: Mapping[str, float] = field(default_factory=dict)

    def most(self, measure: str, name: str, bound: float) -> float:
        """Return the most that a count of a measure may be."""
        share = self.loose if name == EXITS else self.tolerance
        return bound * (1 + share) + self.slacks.get(measure, self.slack)


def read(path: Path) -> Bounds:
    """Read a file of bounds."""
    fields = tomllib.loads(path.read_text())
    named = {
        name: fields.pop(name) for name in ("tolerance", "loose", "slack", "processor")
    }
    slacks = {name: own.pop("slack") for name, own in fields.items() if "slack" in own}
    return Bounds(**named, measures=fields, slacks=slacks)


def broken(record: Record, bounds: Bounds) -> list[str]:
    """Return a line for each count above its bound, and each that is missing."""
    known = {measure.name: measure for measure in record.measures}
    here = record.method.get("processor") == bounds.processor
    found: list[str] = []
    for name, own in bounds.measures.items():
        if name not in known:
            found.append(f"{name}: not counted")
            continue
        held = own if here else {total: own[total] for total in (EXITS, STEADY)}
        for reason, bound in held.items():
            median = _median(known[name], reason, [*own])
            most = bounds.most(name, reason, bound)
            if median > most:
                found.append(
                    f"{name}, {reason}: {median:g} exits, {bound:g} is the bound,"
                    f" {most:g} the most"
                )
    return found


def _median(measure: Measure, name: str, bound: Sequence[str]) -> float:
    """Return the median of a count, 0 for what was not met."""
    if name != OTHERS:
        return statistics.median(measure.values.get(name, [0.0]))
    start = part(EXITS, "")
    rest = [
        values
        for reason, values in measure.values.items()
        if reason.startswith(start)
        and reason not in bound
        and reason.removeprefix(start) not in TIMED
    ]
    return statistics.median(map(sum, zip(*rest, strict=True))) if rest else 0.0
