# SPDX-License-Identifier: Apache-2.0
"""Judges what a case gave under the two runtimes.

Owns: the verdicts, and the words that say what was different. Does not own:
running anything; all here is pure.

First the reference is held to what the case expects, so that a wrong case or
an unfit host is told from a wrong runtime; then the other is held to both.
"""

import difflib
import re
from dataclasses import dataclass, field
from enum import StrEnum

from boxlite_runtime.conformance.case import Case, Exit, Match, Step
from boxlite_runtime.conformance.engines.engine import Outcome

#: Characters of one finding that are shown.
LONGEST = 2000


class Verdict(StrEnum):
    """What became of a case."""

    SAME = "same"
    #: It differs, and the case says why it does.
    DECLARED = "declared"
    DIFFERS = "differs"
    #: A difference is declared that was not seen.
    STALE = "stale"
    #: The reference itself does not do what the case expects.
    WRONG = "wrong"
    #: The engine or the host lacks something the case needs.
    SKIPPED = "skipped"


#: Verdicts that fail a run.
FAILING = frozenset({Verdict.DIFFERS, Verdict.STALE, Verdict.WRONG})


@dataclass(frozen=True)
class Observation:
    """What the steps of a case gave under one runtime; seconds it took.

    Fewer outcomes than steps mean that the last one was not as expected.
    """

    outcomes: tuple[Outcome, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class Result:
    """A judged case. ``details`` say what differed, or why it was skipped."""

    case: Case
    verdict: Verdict
    details: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)


def judge(case: Case, reference: Observation | None, found: Observation) -> Result:
    """Return the verdict on a case; without a reference it stands alone."""
    seconds = {"boxlite": round(found.seconds, 2)}
    if reference is not None:
        seconds["reference"] = round(reference.seconds, 2)
        wrong = tuple(_unexpected(case, reference))
        if wrong:
            return Result(case, Verdict.WRONG, wrong, seconds)
    details = tuple(_unexpected(case, found))
    if reference is not None and not details:
        details = tuple(_different(case, reference, found))
    if case.difference is not None:
        if details:
            return Result(case, Verdict.DECLARED, details, seconds)
        return Result(
            case, Verdict.STALE, ("the declared difference is not there",), seconds
        )
    verdict = Verdict.DIFFERS if details else Verdict.SAME
    return Result(case, verdict, details, seconds)


def expected(step: Step, outcome: Outcome) -> list[str]:
    """Return in what an outcome is not what its step says, a text each."""
    found = []
    if outcome.exit == -1:
        found.append(f"it did not end: {outcome.stderr.strip()}")
    elif step.exit == Exit.NONZERO and outcome.exit == 0:
        found.append("exit 0 where a failure is expected")
    elif isinstance(step.exit, int) and outcome.exit != step.exit:
        found.append(f"exit {outcome.exit} where {step.exit} is expected")
    for name, pattern, text in (
        ("stdout", step.prints, outcome.stdout),
        ("stderr", step.says, outcome.stderr),
    ):
        if pattern is not None and not re.search(pattern, text, re.MULTILINE):
            found.append(f"{name} has no {pattern!r}")
    if found:
        found += [
            f"{name}: {_short(text)}"
            for name, text in (("stdout", outcome.stdout), ("stderr", outcome.stderr))
            if text.strip()
        ]
    return found


def _unexpected(case: Case, seen: Observation) -> list[str]:
    found: list[str] = []
    for number, (step, outcome) in enumerate(
        zip(case.steps, seen.outcomes, strict=False), 1
    ):
        found += [_at(case, number, step, text) for text in expected(step, outcome)]
    if not found and len(seen.outcomes) < len(case.steps):
        found.append("not all steps were done")
    return found


def _different(case: Case, reference: Observation, found: Observation) -> list[str]:
    differences: list[str] = []
    triples = zip(case.steps, reference.outcomes, found.outcomes, strict=True)
    for number, (step, left, right) in enumerate(triples, 1):
        texts = []
        if step.exit != Exit.ANY and left.exit != right.exit:
            texts.append(f"exit {right.exit}, and {left.exit} under the reference")
        for name, match, one, other in (
            ("stdout", step.stdout, left.stdout, right.stdout),
            ("stderr", step.stderr, left.stderr, right.stderr),
        ):
            if match != Match.IGNORE:
                texts += _unequal(name, match, one, other)
        differences += [_at(case, number, step, text) for text in texts]
    return differences


def _unequal(name: str, match: Match, left: str, right: str) -> list[str]:
    one, other = left.splitlines(), right.splitlines()
    if match == Match.SORTED:
        one, other = sorted(one), sorted(other)
        if one == other:
            return []
    elif left == right:
        return []
    lines = difflib.unified_diff(
        one, other, f"{name} under the reference", f"{name} found", lineterm="", n=1
    )
    return [_short("\n".join(lines) or f"{name} differs in its last line end")]


def _at(case: Case, number: int, step: Step, text: str) -> str:
    where = "" if len(case.steps) == 1 else f"step {number} ({step.verb}): "
    return f"{where}{text}"


def _short(text: str) -> str:
    text = text.rstrip()
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."
