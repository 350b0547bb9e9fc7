# SPDX-License-Identifier: Apache-2.0
"""What is told about a run: the summary, the record, the table.

Owns: the JSON form of a run, the text at the end of it, and the Markdown page
of one or more records. Does not own: verdicts (``compare``).
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from boxlite_runtime import document
from boxlite_runtime.conformance.compare import FAILING, Result, Verdict

#: The version of the record's form.
FORM = 1
#: From docs/reference/conformance.md to the pages that links name.
UP = {"docs/explanation/": "../explanation/"}


@dataclass(frozen=True)
class Record:
    """A finished run, as kept in a file. ``host`` and ``versions`` are texts."""

    engine: str
    versions: str
    runtime: str
    reference: str
    host: str
    date: str
    seconds: float
    cases: list[dict[str, Any]] = field(default_factory=list)

    @property
    def counts(self) -> Counter[str]:
        """How many cases have each verdict."""
        return Counter(case["verdict"] for case in self.cases)

    def of(self, area: str) -> list[dict[str, Any]]:
        """Return the cases of an area."""
        return [case for case in self.cases if case["area"] == area]


def entry(result: Result) -> dict[str, Any]:
    """Return the JSON form of one result."""
    case = result.case
    told: dict[str, Any] = {
        "name": case.name,
        "area": case.area,
        "core": case.core,
        "verdict": result.verdict.value,
        "seconds": result.seconds,
    }
    if case.alone:
        told["alone"] = case.alone
    if result.details:
        told["details"] = list(result.details)
    if result.verdict is Verdict.DECLARED and case.difference is not None:
        told["reason"] = case.difference.reason
        told["link"] = case.difference.link
    return told


def written(record: Record) -> str:
    """Return a record as JSON text."""
    return document.text(FORM, record.__dict__)


def recorded(path: Path) -> Record:
    """Read a record. Raises ``BoxliteError`` for what is none."""
    return document.read(
        path,
        FORM,
        lambda fields: Record(**fields),
        what="a conformance run",
        by="boxlite conformance run",
    )


def areas(records: list[Record]) -> list[str]:
    """Return the areas of all records, in the order they first come."""
    return list(dict.fromkeys(case["area"] for r in records for case in r.cases))


def summary(record: Record) -> str:
    """Return the text for the end of a run: the failures, then the areas."""
    lines: list[str] = []
    for case in record.cases:
        if case["verdict"] in FAILING:
            lines.append(f"{case['verdict'].upper()}: {case['area']}: {case['name']}")
            for text in case.get("details", ()):
                lines += [f"    {line}" for line in text.splitlines()]
    if lines:
        lines.append("")
    order = [v.value for v in Verdict if record.counts[v.value] or v is Verdict.SAME]
    width = max((len(area) for area in areas([record])), default=4)
    lines.append(f"{'area':{width}} " + " ".join(f"{v:>8}" for v in order))
    for area in areas([record]):
        counts = Counter(case["verdict"] for case in record.of(area))
        row = " ".join(f"{counts[v] or '.':>8}" for v in order)
        lines.append(f"{area:{width}} {row}")
    row = " ".join(f"{record.counts[v]:>8}" for v in order)
    lines.append(f"{'all':{width}} {row}")
    skipped = Counter(
        case["details"][0] for case in record.cases if case["verdict"] == "skipped"
    )
    lines += [f"skipped {count}: {reason}" for reason, count in skipped.items()]
    return "\n".join(lines)


def page(records: list[Record]) -> str:
    """Return the Markdown page of one or more records."""
    parts = [
        "# Conformance",
        "",
        "Every case is done twice through the real engine, under the reference",
        "runtime and under BoxLite, and what comes out is compared: exit code,",
        "stdout, stderr, state. `boxlite conformance report` writes this page;",
        "[check conformance](../how-to/conformance.md) tells how to run the cases.",
        "",
        "| Engine | Versions | Host | Date | Cases | Same | Declared | Differ | Not for it |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for record in records:
        counts = record.counts
        failing = sum(counts[verdict.value] for verdict in FAILING)
        parts.append(
            f"| {record.engine} | {record.versions} | {record.host} | {record.date}"
            f" | {len(record.cases)} | {counts['same']} | {counts['declared']}"
            f" | {failing} | {counts['skipped']} |"
        )
    parts += ["", *_declared(records), *_failing(records)]
    for area in areas(records):
        parts += _area(records, area)
    return "\n".join(parts).rstrip() + "\n"


def _declared(records: list[Record]) -> list[str]:
    rows: dict[str, str] = {}
    for record in records:
        for case in record.cases:
            if case["verdict"] == Verdict.DECLARED:
                link = case["link"]
                for prefix, short in UP.items():
                    link = link.replace(prefix, short)
                rows[case["name"]] = (
                    f"| {case['name']} | {case['reason']} | [limits]({link}) |"
                )
    if not rows:
        return []
    return [
        "## Declared differences", "",
        "| Contract | Why it is not kept | |", "|---|---|---|",
        *rows.values(), "",
    ]  # fmt: skip


def _failing(records: list[Record]) -> list[str]:
    rows = [
        f"| {case['name']} | {record.engine} | {case['verdict']} |"
        for record in records
        for case in record.cases
        if case["verdict"] in FAILING
    ]
    if not rows:
        return []
    return [
        "## Open differences", "",
        "| Contract | Engine | Verdict |", "|---|---|---|", *rows, "",
    ]  # fmt: skip


#: How a verdict is shown in the tables of contracts.
MARKS = {
    "same": "same",
    "declared": "declared",
    "skipped": "",
    "differs": "**differs**",
}


def _area(records: list[Record], area: str) -> list[str]:
    names = dict.fromkeys(case["name"] for r in records for case in r.of(area))
    columns = [{case["name"]: case for case in r.of(area)} for r in records]
    head = " | ".join(record.engine for record in records)
    parts = [
        f"## {area}",
        "",
        f"| Contract | {head} |",
        "|---" * (len(records) + 1) + "|",
    ]
    for name in names:
        cells = []
        for column in columns:
            case = column.get(name)
            verdict = case["verdict"] if case else "skipped"
            mark = MARKS.get(verdict, f"**{verdict}**")
            if case and case.get("alone") and verdict == "same":
                mark = "as asked"
            cells.append(mark)
        parts.append(f"| {name} | {' | '.join(cells)} |")
    return [*parts, ""]
