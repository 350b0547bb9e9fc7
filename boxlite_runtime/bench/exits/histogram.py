# SPDX-License-Identifier: Apache-2.0
"""Reads the kernel's histogram of an event.

Owns: its text, as Documentation/trace/histogram.rst describes it. Does not
own: what the keys mean.

    { common_pid:       1234, isa:          2, exit_reason:       1024 } hitcount:         23
    ...
    Totals:
        Hits: 23
        Entries: 1
        Dropped: 0
"""

import re
from dataclasses import dataclass

from boxlite_runtime.errors import BoxliteError

ENTRY = re.compile(r"^\{ (.+) \} hitcount:\s*(\d+)", re.MULTILINE)
KEY = re.compile(r"(\w+):\s*(\d+)")
TOTAL = re.compile(r"^\s+(Hits|Entries|Dropped): (\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Entry:
    """One combination of keys, and how often it was met."""

    keys: dict[str, int]
    hits: int


def entries(text: str) -> list[Entry]:
    """Return the entries of the text of a ``hist`` file.

    Raises ``BoxliteError`` where some are missing: a table that was too small
    would count too little.
    """
    found = [
        Entry({name: int(value) for name, value in KEY.findall(keys)}, int(hits))
        for keys, hits in ENTRY.findall(text)
    ]
    totals = {name: int(value) for name, value in TOTAL.findall(text)}
    if totals.get("Entries") != len(found):
        raise BoxliteError(
            "the kernel's histogram is not understood",
            hint="It is that of a kernel this release does not know.",
        )
    if totals.get("Dropped"):
        raise BoxliteError(
            f"the kernel's histogram was too small: {totals['Dropped']} events are"
            " missing",
            hint="Count while fewer machines run on this host.",
        )
    return found
