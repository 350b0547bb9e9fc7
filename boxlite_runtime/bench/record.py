# SPDX-License-Identifier: Apache-2.0
"""What a measurement leaves behind.

Owns: the record and its JSON form, which is stable: what reads version 1 reads
every record of version 1. Does not own: how a record is shown.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from boxlite_runtime import document

#: The version of the record's form.
FORM = 1


@dataclass(frozen=True)
class Measure:
    """One thing measured. ``values``: runtime -> every value, in order.

    ``unit`` is s, MiB, MB/s or 1/s; of the latter two, more is better. It is
    exits where one runtime's exits are counted: ``values`` are by reason then.
    ``failed``: runtime -> how many times it did not work.
    """

    name: str
    unit: str
    values: dict[str, list[float]]
    failed: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """One run of a benchmark.

    ``host`` and ``method`` are texts by name. ``phases``: a field of the shim's
    log without ``t_`` -> seconds, a value for each start; empty without a log.
    """

    kind: str
    engine: str
    runtime: str
    reference: str
    date: str
    host: dict[str, str]
    method: dict[str, str]
    measures: list[Measure]
    phases: dict[str, list[float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def failures(self) -> int:
        """How often anything failed."""
        return sum(sum(measure.failed.values()) for measure in self.measures)


def written(record: Record) -> str:
    """Return a record as JSON text."""
    return document.text(FORM, asdict(record))


def read(path: Path) -> Record:
    """Read a record. Raises ``BoxliteError`` for what is none."""
    return document.read(
        path, FORM, _record, what="a measurement", by="boxlite bench start"
    )


def _record(fields: dict[str, Any]) -> Record:
    measures = [Measure(**measure) for measure in fields.pop("measures")]
    return Record(**fields, measures=measures)
