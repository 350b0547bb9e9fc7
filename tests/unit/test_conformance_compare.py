# SPDX-License-Identifier: Apache-2.0
"""Verdicts, selections, names: everything about cases that needs no engine."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from boxlite_runtime.conformance import report, selection
from boxlite_runtime.conformance.case import Case, Difference, Exit, Match, Step
from boxlite_runtime.conformance.compare import (
    Observation,
    Result,
    Verdict,
    expected,
    judge,
)
from boxlite_runtime.conformance.dotted import looked_up
from boxlite_runtime.conformance.engines.engine import Outcome, Unknown, split_flags
from boxlite_runtime.conformance.names import Names
from boxlite_runtime.errors import BoxliteError


def case(*steps: Step, name: str = "it works", **more: Any) -> Case:  # noqa: ANN401
    made = Case(name, "Area", Path("area.yaml"), 1, steps or (Step("run"),))
    return replace(made, **more)


def seen(*outcomes: Outcome) -> Observation:
    return Observation(outcomes, 1.0)


def verdict(
    step: Step,
    reference: Outcome | None,
    found: Outcome,
    **more: Any,  # noqa: ANN401
) -> Verdict:
    one = case(step, **more)
    return judge(one, seen(reference) if reference else None, seen(found)).verdict


def test_equal_outcomes_are_the_same() -> None:
    out = Outcome(0, "a\n", "b\n")

    assert verdict(Step("run"), out, out) == Verdict.SAME


@pytest.mark.parametrize(
    "found", [Outcome(1), Outcome(0, "other\n"), Outcome(0, "", "noise\n")]
)
def test_what_differs_is_told(found: Outcome) -> None:
    assert verdict(Step("run"), Outcome(0), found) == Verdict.DIFFERS


def test_lines_in_another_order_are_the_same_where_sorted() -> None:
    step = Step("run", stdout=Match.SORTED)

    assert verdict(step, Outcome(0, "a\nb\n"), Outcome(0, "b\na\n")) == Verdict.SAME
    assert verdict(step, Outcome(0, "a\nb\n"), Outcome(0, "b\n")) == Verdict.DIFFERS


def test_what_is_ignored_is_still_held_to_its_pattern() -> None:
    step = Step("run", stdout=Match.IGNORE, prints="^[0-9]+$")

    assert verdict(step, Outcome(0, "1\n"), Outcome(0, "2\n")) == Verdict.SAME
    assert verdict(step, Outcome(0, "1\n"), Outcome(0, "two\n")) == Verdict.DIFFERS


def test_a_reference_that_breaks_the_expectation_makes_the_case_wrong() -> None:
    step = Step("run", exit=3)

    assert verdict(step, Outcome(0), Outcome(0)) == Verdict.WRONG
    assert verdict(step, Outcome(0), Outcome(3)) == Verdict.WRONG


def test_a_case_alone_is_held_to_its_expectation_only() -> None:
    step = Step("run", prints="^1$")

    assert verdict(step, None, Outcome(0, "1\n"), alone="why") == Verdict.SAME
    assert verdict(step, None, Outcome(0, "2\n"), alone="why") == Verdict.DIFFERS


def test_a_declared_difference_must_be_there() -> None:
    declared = Difference("because", "docs/explanation/limits.md#different")

    def with_it(found: Outcome) -> Verdict:
        return verdict(Step("run"), Outcome(0), found, difference=declared)

    assert with_it(Outcome(0, "x")) == Verdict.DECLARED
    assert with_it(Outcome(0)) == Verdict.STALE


def test_steps_that_were_not_reached_differ() -> None:
    both = case(Step("run"), Step("stop"))
    full = seen(Outcome(0), Outcome(0))

    assert judge(both, full, seen(Outcome(0))).verdict == Verdict.DIFFERS


def test_exit_may_be_any_failure_or_anything() -> None:
    assert expected(Step("run", exit=Exit.NONZERO), Outcome(0))
    assert not expected(Step("run", exit=Exit.NONZERO), Outcome(5))
    assert expected(Step("run", exit=Exit.ANY), Outcome(-1, "", "too long"))
    step = Step("run", exit=Exit.ANY)
    assert verdict(step, Outcome(1), Outcome(2)) == Verdict.SAME


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("", ["tty works", "plain works", "plain fails"]),
        ("plain", ["plain works", "plain fails"]),
        ("plain and not fails", ["plain works"]),
        ("tty or fails", ["tty works", "plain fails"]),
        ("not (tty or fails)", ["plain works"]),
        ("core", ["plain fails"]),
        ("area and WORKS", ["tty works", "plain works"]),
    ],
)
def test_an_expression_selects(expression: str, names: list[str]) -> None:
    cases = [
        case(name="tty works"),
        case(name="plain works"),
        case(name="plain fails", core=True),
    ]

    assert [c.name for c in selection.selected(expression, cases)] == names


@pytest.mark.parametrize("expression", ["and", "a b", "(a", "not", "a or"])
def test_a_bad_expression_is_refused(expression: str) -> None:
    with pytest.raises(BoxliteError, match="-k"):
        selection.selected(expression, [case()])


def test_names_are_put_in_and_taken_out(tmp_path: Path) -> None:
    names = Names(prefix="p1t2-3r", run="p1t2", host=tmp_path)
    step = names.filled(Step("exec", words=("cat", "@host@/x", "@other@", "a@b.c")))

    assert step.words == ("cat", f"{tmp_path}/x", "p1t2-3r-other", "a@b.c")
    said = names.masked(Outcome(1, "p1t2-3r-other\n", f"no {tmp_path}/x"))
    assert (said.stdout, said.stderr) == ("@other@\n", "no @host@/x")


def test_dotted_paths_are_looked_up() -> None:
    document = {"State": {"ExitCode": 3}, "Mounts": [{"RW": True}], "Nets": {"b": 1}}

    assert looked_up(document, "State.ExitCode") == "3"
    assert looked_up(document, "Mounts.0.RW") == "true"
    assert looked_up(document, "Nets.*") == '["b"]'
    assert looked_up(document, "Mounts.1.RW") == "absent"


def test_flags_are_split_by_what_is_known_of_them() -> None:
    arity = {"--env": 1, "--rm": 0}

    split = list(split_flags(["--rm", "--env", "A=1", "--env=B=2"], arity))
    assert split == [("--rm", ""), ("--env", "A=1"), ("--env", "B=2")]
    with pytest.raises(Unknown):
        list(split_flags(["--ipc", "host"], arity))


def record() -> report.Record:
    declared = Difference("so it is", "docs/explanation/limits.md#different")
    results = [
        Result(case(name="one"), Verdict.SAME),
        Result(case(name="two"), Verdict.DIFFERS, ("exit 1\nand more",)),
        Result(case(name="three", difference=declared), Verdict.DECLARED, ("x",)),
        Result(case(name="four"), Verdict.SKIPPED, ("no tty",)),
    ]
    return report.Record(
        "docker", "Engine 1", "boxlite", "runc", "Linux", "2026-01-01", 1.0,
        [report.entry(result) for result in results],
    )  # fmt: skip


def test_the_summary_names_failures_and_counts_areas() -> None:
    text = report.summary(record())

    assert text.startswith("DIFFERS: Area: two\n    exit 1\n    and more\n")
    assert text.endswith("skipped 1: no tty")


def test_a_record_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(report.written(record()))

    assert report.recorded(path) == record()
    path.write_text("[]")
    with pytest.raises(BoxliteError, match="no record"):
        report.recorded(path)


def test_the_page_lists_contracts_by_area_and_declared_differences() -> None:
    text = report.page([record(), replace(record(), engine="ctr", cases=[])])

    assert "| three | so it is | [limits](../explanation/limits.md#different) |" in text
    assert "| two | docker | differs |" in text
    assert "| one | same |  |" in text
