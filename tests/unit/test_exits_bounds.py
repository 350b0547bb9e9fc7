# SPDX-License-Identifier: Apache-2.0
"""Counts are held to bounds, with a tolerance, by reason."""

from dataclasses import replace
from pathlib import Path

import pytest

from boxlite_runtime.bench.exits.counts import measure
from boxlite_runtime.bench.record import Record
from tests.system.bounds import Bounds, broken, read

BOUNDS = Bounds(
    tolerance=0.2,
    loose=1.0,
    slack=2,
    processor="svm",
    measures={
        "start": {
            "exits": 1000,
            "steady": 850,
            "exits: npf": 800,
            "to QEMU": 10,
            "others": 5,
        },
    },
)


def record(processor: str = "svm", **counts: float) -> Record:
    """Return a record of three starts; the last of them is far off."""
    named = {name.replace("_", ": ", 1): value for name, value in counts.items()}
    worst = {name: 100 * value for name, value in named.items()}
    return Record(
        "exits", "docker", "boxlite", "boxlite", "2026-01-02", {},
        {"processor": processor}, [measure("start", [named, named, worst])],
    )  # fmt: skip


def test_a_count_may_lie_above_its_bound_by_tolerance_and_slack() -> None:
    assert broken(record(steady=1022, exits_npf=962), BOUNDS) == []


def test_a_measure_may_have_a_slack_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "bounds.toml"
    file.write_text(
        'tolerance = 0.2\nloose = 1.0\nslack = 100\nprocessor = "svm"\n'
        "[start]\nslack = 1\nexits = 1\nsteady = 5\n"
    )

    assert broken(record(exits=3, steady=7), read(file)) == []
    assert broken(record(exits=4, steady=8), read(file)) == [
        "start, exits: 4 exits, 1 is the bound, 3 the most",
        "start, steady: 8 exits, 5 is the bound, 7 the most",
    ]


def test_a_count_above_is_told_with_its_reason_and_bound() -> None:
    assert broken(record(steady=1023, exits_npf=963), BOUNDS) == [
        "start, steady: 1023 exits, 850 is the bound, 1022 the most",
        "start, exits: npf: 963 exits, 800 is the bound, 962 the most",
    ]


def test_the_sum_that_grows_with_time_has_more_room() -> None:
    assert broken(record(exits=2002, exits_msr=900, exits_vintr=2), BOUNDS) == []
    assert len(broken(record(exits=2003), BOUNDS)) == 1


def test_fewer_exits_break_nothing() -> None:
    assert broken(record(exits=1), BOUNDS) == []


def test_a_reason_that_has_no_bound_is_seen() -> None:
    found = broken(record(exits=9, exits_npf=1, exits_hlt=5, exits_io=4), BOUNDS)

    assert found == ["start, others: 9 exits, 5 is the bound, 8 the most"]


def test_on_another_processor_the_sums_alone_are_held() -> None:
    assert broken(record("vmx", exits=900, exits_EPT_VIOLATION=900), BOUNDS) == []
    assert len(broken(record("vmx", exits=9000, steady=9000), BOUNDS)) == 2


def test_what_was_not_counted_is_no_success() -> None:
    nothing = replace(record(exits=1), measures=[])

    assert broken(nothing, BOUNDS) == ["start: not counted"]


@pytest.mark.parametrize("kind", ["start", "exec", "idle second"])
def test_the_file_of_bounds_has_a_sum_for_what_is_counted(
    kind: str, source: Path
) -> None:
    bounds = read(source / "tests" / "system" / "exits.toml")

    assert bounds.measures[kind]["exits"] >= bounds.measures[kind]["steady"] > 0
    assert 0.1 <= bounds.tolerance <= 0.25
