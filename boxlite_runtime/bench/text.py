# SPDX-License-Identifier: Apache-2.0
"""A record as text for a terminal.

Owns: columns, and how many digits a value has. Does not own: the Markdown
page (``page``), which takes its cells from here.
"""

import statistics
from collections.abc import Mapping, Sequence

from boxlite_runtime.bench.exits import told as exits
from boxlite_runtime.bench.phases import from_template
from boxlite_runtime.bench.record import Measure, Record
from boxlite_runtime.bench.sample import ratio, summary

HEAD = ("", "runs", "median", "p95", "min", "max", "ratio")

#: The fields of the shim's log, in the order they happen -> what they are.
PHASES = {
    "plan": "compile the plan",
    "cgroup": "make and enter the cgroup, beside the next two",
    "net": "network namespace and taps",
    "share": "share the files",
    "spawn": "start QEMU",
    "restore": "go on from the template",
    "launch": "Create up to here: launched",
    "create": "Create, with the engine's hooks",
    "boot": "guest answers, from Create",
    "configure": "configure the guest",
    "build": "container in the guest",
    "scan": "Start up to here: network scanned",
    "guest": "guest answers, from Start",
    "container": "container ready, from Start",
    "start": "Start",
    "shim": "Create and Start together",
    "total": "from Create to the end of Start",
}


def number(value: float, unit: str) -> str:
    """Return a value with the digits that mean something."""
    if unit == "s":
        return f"{value:.3f}"
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def rows(measure: Measure, reference: str) -> list[list[str]]:
    """Return a row for each runtime of a measure, as ``HEAD`` names its cells."""
    base = measure.values.get(reference, [])
    found = []
    for runtime, values in measure.values.items():
        if not values:
            continue
        s = summary(values)
        shares = (s.median, s.p95, s.least, s.most)
        over = ratio(values, base) if runtime != reference else None
        found.append(
            [
                runtime,
                str(s.count),
                *(number(value, measure.unit) for value in shares),
                f"{over:.2f}" if over is not None else "",
            ]
        )
    return found


def phase_rows(phases: Mapping[str, Sequence[float]]) -> list[list[str]]:
    """Return the phases in milliseconds: field, meaning, median, p95."""
    known = [name for name in PHASES if name in phases]
    others = [name for name in phases if name not in PHASES]
    found = []
    for name in [*known, *others]:
        s = summary(phases[name])
        cells = (f"{1000 * value:.1f}" for value in (s.median, s.p95))
        found.append([name, PHASES.get(name, ""), *cells])
    return found


def without_ratio(cells: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return a table, its head among it, without a last column that says nothing."""
    empty = not any(row[-1] for row in cells[1:])
    return [list(row[:-1] if empty else row) for row in cells]


def failures(measure: Measure) -> str:
    """Return how often each runtime failed, empty where nothing counts it."""
    return ", ".join(f"{name} {count}" for name, count in measure.failed.items())


def told(record: Record) -> str:
    """Return the text for the end of a run."""
    lines: list[str] = []
    if record.kind == exits.KIND:
        return "\n".join([*exits.lines(record), *record.notes]).strip("\n")
    for measure in record.measures:
        lines += ["", f"{measure.name.replace('`', '')} [{measure.unit}]"]
        cells = without_ratio([list(HEAD), *rows(measure, record.reference)])
        lines += table(cells, left=1)
        if measure.failed:
            lines.append(f"failed: {failures(measure)}")
    if record.phases:
        count = len(next(iter(record.phases.values())))
        how = "from a template" if from_template(record.phases) else "booted"
        lines += ["", f"phases of {count} starts, {how} [ms]"]
        head = ["", "", "median", "p95"]
        lines += table([head, *phase_rows(record.phases)], left=2)
    lines += ["", *record.notes] if record.notes else []
    return "\n".join(lines).lstrip("\n")


def table(cells: Sequence[Sequence[str]], left: int) -> list[str]:
    """Return rows in columns; the first ``left`` are flush left."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if at < left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def wall(record: Record) -> dict[str, float]:
    """Return the median of the first measure for each runtime, in seconds."""
    if not record.measures:
        return {}
    values = record.measures[0].values
    return {name: statistics.median(found) for name, found in values.items() if found}
