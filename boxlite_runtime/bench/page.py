# SPDX-License-Identifier: Apache-2.0
"""The Markdown page of one or more records.

Owns: the tables, the paragraph about the method, and what of an older page
stays. Does not own: the picture (``picture``) and the digits (``text``).
"""

from collections.abc import Sequence

from boxlite_runtime.bench import text
from boxlite_runtime.bench.exits import told as exits
from boxlite_runtime.bench.phases import from_template
from boxlite_runtime.bench.record import Record

#: What follows this line on a page was written by a person, and stays.
BY_HAND = "<!-- What follows is written by hand; boxlite bench report keeps it. -->"

#: Kind of a record -> its heading.
TITLES = {
    "start": "Start",
    "exec": "Commands in a running container",
    "stdio": "Standard streams",
    "memory": "Memory of idle containers",
    "files": "Files",
    exits.KIND: "Exits of the guest",
}

#: What is a record's own, not the host's.
OF_THE_MOMENT = "Load before"

METHOD = """\
Every runtime does the same in each round, right after the others, and each
is first as often as they are: what disturbs the host disturbs all. One start
of each goes before and is not counted. Times are those of the whole command,
by the wall clock of the host; times of files are taken inside the container.
A ratio is that of the medians; of MB/s and 1/s, more is better. p95 is interpolated between ranks. Memory is
the proportional set size: a page that processes share is divided among them.
[Measure](../how-to/measure.md) tells how to do the same on your host."""

PARTS = """\
The parts of a start, from the shim's log. The guest boots, or goes on from its
template, while the engine works: only the wait that is left counts as waiting.
Each part is a median; the engine's last is what they leave of the whole
command's median."""


def page(records: Sequence[Record], picture: str | None = None) -> str:
    """Return the page. ``picture`` is the file of the phases, beside it."""
    lines = [
        "# Performance", "",
        "`boxlite bench report` writes this page from what was measured.", "",
        "## Host", "", *_hosts(records), "",
        "## Method", "", *METHOD.splitlines(), "",
    ]  # fmt: skip
    for kind in dict.fromkeys(record.kind for record in records):
        lines += [f"## {TITLES.get(kind, kind)}", ""]
        same = [record for record in records if record.kind == kind]
        if kind == "start" and picture is not None:
            lines += [*PARTS.splitlines(), "", f"![Parts of a start]({picture})", ""]
        if kind == exits.KIND:
            lines += [*exits.METHOD.splitlines(), ""]
        for record in same:
            lines += _record(record, alone=len(same) == 1)
    return "\n".join(lines).rstrip() + "\n"


def kept(older: str, newer: str) -> str:
    """Return a new page with what a person wrote on the older one."""
    _, mark, written = older.partition(BY_HAND)
    return f"{newer}\n{mark}{written}" if mark else newer


def _hosts(records: Sequence[Record]) -> list[str]:
    hosts: list[dict[str, str]] = []
    for record in records:
        facts = {k: v for k, v in record.host.items() if k != OF_THE_MOMENT}
        facts["Date"] = record.date
        if facts not in hosts:
            hosts.append(facts)
    names = dict.fromkeys(name for facts in hosts for name in facts)
    return [
        f"| |{' |' * len(hosts)}",
        "|---" * (len(hosts) + 1) + "|",
        *(
            f"| {name} | {' | '.join(facts.get(name, '') for facts in hosts)} |"
            for name in names
        ),
    ]


def _record(record: Record, *, alone: bool) -> list[str]:
    how = ", ".join(f"{name} {value}" for name, value in record.method.items())
    load = record.host.get(OF_THE_MOMENT)
    lines = [] if alone else [f"### With {how}", ""]
    said = [how] if alone else []
    said += [f"load before {load}"] if load else []
    lines += (
        [f"{', '.join(said)[:1].upper()}{', '.join(said)[1:]}.", ""] if said else []
    )
    lines += _counts(record) if record.kind == exits.KIND else _values(record)
    for measure in record.measures:
        if measure.failed:
            lines += [f"Failed of {measure.name}: {text.failures(measure)}.", ""]
    if record.phases:
        lines += _phases(record)
    lines += [f"- {note}" for note in record.notes]
    return [*lines, ""] if record.notes else lines


def _values(record: Record) -> list[str]:
    cells = [["Measure", "Runtime", "Runs", "Median", "p95", "Min", "Max", "Ratio"]]
    for measure in record.measures:
        name = f"{measure.name}, {measure.unit}"
        for row in text.rows(measure, record.reference):
            cells.append([name, *row])
            name = ""
    head, *body = text.without_ratio(cells)
    rule = "|---|---|" + "---:|" * (len(head) - 2)
    return [_row(head), rule, *map(_row, body), ""]


def _counts(record: Record) -> list[str]:
    found: list[str] = []
    for numbers, (head, *body) in exits.tables(record):
        rule = "|---|" + "---:|" * numbers + "---|" * (len(head) - numbers - 1)
        found += [_row(head), rule, *map(_row, body), ""]
    return found


def _phases(record: Record) -> list[str]:
    how = "went on from a template" if from_template(record.phases) else "booted"
    count = len(next(iter(record.phases.values())))
    return [
        f"What the shim's log says of {count} starts, whose machines {how}:", "",
        "| Field | What | Median, ms | p95, ms |", "|---|---|---:|---:|",
        *(
            _row([f"`t_{row[0]}`" if row[0] != "shim" else "", *row[1:]])
            for row in text.phase_rows(record.phases)
        ),
        "",
    ]  # fmt: skip


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
