# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the measurements: those of the system tests, and a report.

A measurement is paired: in each round the reference and BoxLite do the same
one after the other, in turns as to who is first, on the same host in the same
minute. What is kept is every value, the medians and their ratio.
"""

import json
import platform
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.engines.docker import Docker
from tests.system.both import Both
from tests.system.conftest import (
    both,
    docker,
    pair,
    pytest_collection_modifyitems,
    pytest_generate_tests,
)

__all__ = [
    "both",
    "docker",
    "pair",
    "pytest_collection_modifyitems",
    "pytest_generate_tests",
]


@dataclass
class Report:
    """What was measured, written to a JSON file at the end."""

    rounds: int
    measured: dict[str, dict[str, object]] = field(default_factory=dict)

    def paired(
        self, name: str, unit: str, both: Both, measure: Callable[[Docker], float]
    ) -> float:
        """Measure under each runtime in turns; return the ratio of medians."""
        sides = (both.reference, both.boxlite)
        values: tuple[list[float], list[float]] = ([], [])
        for side in sides:
            measure(side)  # what only a first run pays is not compared
        for number in range(self.rounds):
            for at in (0, 1) if number % 2 == 0 else (1, 0):
                values[at].append(measure(sides[at]))
        reference, boxlite = (statistics.median(side) for side in values)
        ratio = boxlite / reference if reference else float("inf")
        self.measured[name] = {
            "unit": unit,
            both.reference.runtime: _summary(values[0]),
            "boxlite": _summary(values[1]),
            "ratio": round(ratio, 3),
        }
        return ratio

    def keep(self, name: str, unit: str, values: list[float]) -> None:
        """Keep what only BoxLite has, measured elsewhere."""
        self.measured[name] = {"unit": unit, "boxlite": _summary(values)}

    def note(self, name: str, value: object) -> None:
        """Keep something that was found rather than timed."""
        self.measured[name] = {"value": value}


def _summary(values: list[float]) -> dict[str, object]:
    return {
        "median": round(statistics.median(values), 4),
        "min": round(min(values), 4),
        "max": round(max(values), 4),
        "values": [round(value, 4) for value in values],
    }


@pytest.fixture(scope="session")
def report(request: pytest.FixtureRequest) -> Iterator[Report]:
    """The report of this session."""
    found = Report(request.config.getoption("perf_rounds"))
    yield found
    file = Path(request.config.getoption("perf_output"))
    host = {"kernel": platform.release(), "machine": platform.machine()}
    content = {"host": host, "rounds": found.rounds, "measured": found.measured}
    file.write_text(json.dumps(content, indent=1) + "\n")


@pytest.hookimpl
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Tell where the measurements are."""
    file = Path(config.getoption("perf_output"))
    if file.exists():
        measured = json.loads(file.read_text())["measured"]
        terminalreporter.section(f"measurements ({file})")
        for name, found in measured.items():
            sides = [
                f"{side} {value['median']:g}"
                for side, value in found.items()
                if isinstance(value, dict) and "median" in value
            ]
            ratio = f", ratio {found['ratio']:g}" if "ratio" in found else ""
            unit = found.get("unit", found.get("value"))
            terminalreporter.line(f"{name} [{unit}]: {', '.join(sides)}{ratio}")
