# SPDX-License-Identifier: Apache-2.0
"""What a check of ``boxlite doctor`` says."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    #: Works, with a limit worth knowing.
    NOTE = "note"
    #: Containers will not start, or not as asked.
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """One line of the report. ``cure`` is a thing to do, where there is one."""

    check: str
    level: Level
    says: str
    cure: str | None = None
    #: What a program may want to know beside, by name.
    about: dict[str, Any] | None = None


def parse_version(text: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: ``26.1.5+dfsg1`` -> 26, 1, 5."""
    numbers: list[int] = []
    for part in text.lstrip("v").split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
        if digits != part:
            break
    return tuple(numbers)
