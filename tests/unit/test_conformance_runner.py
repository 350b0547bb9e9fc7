# SPDX-License-Identifier: Apache-2.0
"""How a run goes, with an engine that is only remembered: no containers."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from boxlite_runtime.conformance import images, session
from boxlite_runtime.conformance.case import Case, Condition, Shared, Step
from boxlite_runtime.conformance.compare import Result, Verdict
from boxlite_runtime.conformance.engines.engine import Outcome
from boxlite_runtime.conformance.images import Archive
from boxlite_runtime.conformance.runner import DIRECTORY, Side, Unit, observe, units
from boxlite_runtime.conformance.session import Session
from boxlite_runtime.errors import BoxliteError


@dataclass
class Remembered:
    """Does what ``answer`` says of a step, and remembers what there is."""

    name: str = "remembered"
    containers: set[str] = field(default_factory=set)
    others: set[str] = field(default_factory=set)
    images: set[str] = field(default_factory=set)
    swept: list[str] = field(default_factory=list)
    left: set[str] = field(default_factory=set)
    did: list[tuple[str, str]] = field(default_factory=list)

    def answer(self, step: Step, runtime: str) -> Outcome:
        if step.words == ("interrupt",):
            raise KeyboardInterrupt
        if step.words == ("fails to run",):
            raise BoxliteError("no such thing")
        told = runtime if step.words == ("tell",) else "same"
        return Outcome(0, f"{told}\n")

    def do(self, step: Step, container: str, runtime: str) -> Outcome:
        if step.verb == "run":
            self.containers.add(container)
        self.did.append((runtime, step.verb))
        return self.answer(step, runtime)

    def lacks(self, step: Step) -> str | None:
        return "no attach" if step.verb == "attach" else None

    def load(self, name: str, archive: Archive) -> None:
        self.images.add(archive.reference)

    def volume(self, name: str) -> None:
        self.others.add(name)

    def network(self, name: str) -> None:
        self.others.add(name)

    def remove(
        self,
        containers: Sequence[str],
        volume: str | None,
        network: str | None,
        image: str | None,
    ) -> None:
        self.containers -= set(containers)
        self.others -= {volume, network}

    def sweep(self, run: str) -> None:
        self.swept.append(run)
        self.left.discard(run)
        self.containers.clear()
        self.others.clear()
        self.images.clear()

    def runs(self) -> set[str]:
        return set(self.left)

    def missing(self) -> str | None:
        return None

    def version(self) -> str:
        return "1"

    def known(self, runtime: str) -> str:
        return runtime


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Keep directories of cases, and the images nobody needs, away from /tmp."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(
        session, "archive_of", lambda name, _: Archive(tmp_path / name, f"it/{name}")
    )
    assert images.RECIPES
    yield tmp_path
    assert not list(tmp_path.glob(f"{DIRECTORY}*"))


def case(name: str, *steps: Step, **more: object) -> Case:
    made = Case(name, "Area", Path("area.yaml"), 1, steps or (Step("run"),))
    return Case(**{**made.__dict__, **more})


def go(engine: Remembered, *cases: Case, jobs: int = 1) -> list[Result]:
    told: list[Result] = []
    made = Session(engine, "other", "runc", jobs, Path("cache"), session.run_name()).go(
        list(cases), told.append
    )
    assert {r.case.name for r in told} == {r.case.name for r in made}
    return made


def test_results_come_in_the_order_of_the_cases_and_nothing_is_left() -> None:
    engine = Remembered()
    cases = [
        case("skipped", Step("attach")),
        case("same", Step("run", flags=("-v", "@volume@:/v"))),
        case("differs", Step("run", words=("tell",))),
    ]

    results = go(engine, *cases, jobs=3)

    assert [r.verdict for r in results] == [
        Verdict.SKIPPED, Verdict.SAME, Verdict.DIFFERS,
    ]  # fmt: skip
    assert results[0].details == ("no attach",)
    assert not engine.containers | engine.others | engine.images


def test_a_case_is_skipped_where_the_host_cannot() -> None:
    cannot = case("needs more", when=Condition("false", "the host cannot"))
    can = case("needs little", when=Condition("true", "the host cannot"))

    first, second = go(Remembered(), cannot, can)

    assert (first.verdict, first.details) == (Verdict.SKIPPED, ("the host cannot",))
    assert second.verdict == Verdict.SAME


def test_a_case_alone_is_not_done_under_the_reference() -> None:
    engine = Remembered()

    (result,) = go(engine, case("only here", alone="runc has none"))

    assert result.verdict == Verdict.SAME
    assert {runtime for runtime, _ in engine.did} == {"other"}


def test_a_step_that_is_not_as_expected_is_the_last() -> None:
    engine = Remembered()
    side = Side("b", "other")
    steps = (Step("run", exit=3), Step("stop"))

    seen = observe(Unit((case("two", *steps),), None), engine, side, "p1t1", 0)

    assert [verb for _, verb in engine.did] == ["run"]
    assert len(seen["two"].outcomes) == 1


def test_an_engine_that_fails_is_a_finding_about_the_case() -> None:
    (result,) = go(Remembered(), case("bad", Step("run", words=("fails to run",))))

    assert result.verdict == Verdict.WRONG
    assert "no such thing" in result.details[0]


def test_an_interrupt_leaves_nothing() -> None:
    engine = Remembered()
    cases = [
        case("works", Step("run", flags=("--network", "@network@"))),
        case("interrupted", Step("run", words=("interrupt",))),
    ]

    with pytest.raises(KeyboardInterrupt):
        go(engine, *cases, jobs=2)

    assert not engine.containers | engine.others | engine.images


def test_what_a_killed_run_left_is_swept_and_a_living_one_is_not() -> None:
    engine = Remembered()
    # Number 1 has begun at another time than 7.
    engine.left = {"p1t7", session.run_name()}
    go(engine, case("one"))

    assert "p1t7" in engine.swept
    assert session.run_name() not in engine.swept[:1]


def test_cases_of_a_shared_container_are_one_unit_with_one_start() -> None:
    shared = Shared("plain")
    inside = [
        case(f"{n}", Step("exec", words=("true",)), shared=shared) for n in range(3)
    ]
    engine = Remembered()

    together = units([case("apart"), *inside])
    go(engine, *inside)

    assert [len(unit.cases) for unit in together] == [1, 3]
    verbs = [verb for runtime, verb in engine.did if runtime == "other"]
    assert verbs == ["run", "exec", "exec", "exec"]


def test_files_are_there_before_the_steps_and_the_host_is_asked(
    scratch: Path,
) -> None:
    script = Step("host", words=("cat note; test -d deep/er && pwd",), exit=0)
    one = case("files", script, files={"note": "of @c@\n", "deep/er/": ""})

    seen = observe(Unit((one,), None), Remembered(), Side("r", "runc"), "p1t1", 4)

    (outcome,) = seen["files"].outcomes
    assert outcome.stdout == "of @c@\n@host@\n"


def test_until_looks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boxlite_runtime.conformance.runner.PAUSE", 0)
    seen: list[str] = []

    class Slow(Remembered):
        def answer(self, step: Step, runtime: str) -> Outcome:
            seen.append(step.verb)
            return Outcome(0, "there" if len(seen) == 3 else "not yet", "noise")

    step = Step("logs", until=True, prints="there")
    got = observe(
        Unit((case("late", step),), None), Slow(), Side("b", "other"), "p1t1", 0
    )

    assert got["late"].outcomes == (Outcome(0, "there"),)
    assert len(seen) == 3


def test_many_at_once_are_put_together_and_the_worst_exit_counts() -> None:
    class Uneven(Remembered):
        def answer(self, step: Step, runtime: str) -> Outcome:
            mine = len(self.did)
            return Outcome(7 if mine == 2 else 0, f"{mine}\n")

    step = Step("exec", times=4, exit=7)
    got = observe(
        Unit((case("many", step),), None), Uneven(), Side("b", "other"), "p1t1", 0
    )

    (outcome,) = got["many"].outcomes
    assert outcome.exit == 7
