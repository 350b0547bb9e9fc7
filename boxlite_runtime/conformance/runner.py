# SPDX-License-Identifier: Apache-2.0
"""Does the steps of a case under one runtime.

Owns: a unit's directory on the host, its volume, network and containers, from
making to removal. Does not own: the order of units (``session``), nor what is
right (``compare``).

Call order: ``units`` once; ``observe`` per unit and runtime.
"""

import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from boxlite_runtime import process
from boxlite_runtime.conformance.case import Case, Shared, Step
from boxlite_runtime.conformance.compare import Observation, expected
from boxlite_runtime.conformance.engines.engine import TIMEOUT, Engine, Outcome
from boxlite_runtime.conformance.names import Names, mentions
from boxlite_runtime.errors import BoxliteError

#: Seconds a state has to come that a step waits for, and between two looks.
PATIENCE = 60.0
PAUSE = 0.3

#: Directories of cases on the host: /tmp/boxlite-conformance-RUN-....
DIRECTORY = "boxlite-conformance-"


@dataclass(frozen=True)
class Unit:
    """Cases done together: one alone, or those of a shared container."""

    cases: tuple[Case, ...]
    shared: Shared | None


@dataclass(frozen=True)
class Side:
    """One runtime of the two, by the name the engine knows it under."""

    letter: str
    runtime: str


def units(cases: list[Case]) -> list[Unit]:
    """Put the cases of each shared container together."""
    alone = [Unit((case,), None) for case in cases if case.shared is None]
    together: dict[tuple[Path, str], list[Case]] = {}
    for case in cases:
        if case.shared is not None:
            together.setdefault((case.path, case.shared.name), []).append(case)
    return alone + [Unit(tuple(group), group[0].shared) for group in together.values()]


def observe(
    unit: Unit, engine: Engine, side: Side, run: str, number: int
) -> dict[str, Observation]:
    """Do a unit's cases under one runtime; what they gave, by their names.

    A shared container that does not start fails all its cases.
    """
    with _place(unit, engine, side, run, number) as names:
        if unit.shared is not None:
            step = Step(
                "run",
                words=unit.shared.words,
                flags=("--detach", *unit.shared.flags),
                image=unit.shared.image,
            )
            began = _do(step, engine, names, side.runtime)
            if began.exit != 0:
                failed = Outcome(-1, "", f"its container: {began.stderr}")
                return {c.name: Observation((failed,)) for c in unit.cases}
        return {
            case.name: _observe(case, engine, names, side.runtime)
            for case in unit.cases
        }


def _observe(case: Case, engine: Engine, names: Names, runtime: str) -> Observation:
    began = time.monotonic()
    outcomes: list[Outcome] = []
    _write(names.host, case.files, names)
    for step in case.steps:
        outcome = _do(step, engine, names, runtime)
        outcomes.append(outcome)
        if expected(step, outcome):
            break
    return Observation(tuple(outcomes), time.monotonic() - began)


def _do(step: Step, engine: Engine, names: Names, runtime: str) -> Outcome:
    container = names.container(step.on)
    filled = names.filled(step)
    if step.times > 1:
        outcome = _at_once(filled, engine, container, runtime)
    elif step.until:
        outcome = _until(filled, engine, container, runtime)
    else:
        outcome = _once(filled, engine, container, runtime, names.host)
    return names.masked(outcome)


def _once(
    step: Step, engine: Engine, container: str, runtime: str, host: Path | None = None
) -> Outcome:
    if step.verb != "host":
        return engine.do(step, container, runtime)
    try:
        done = process.run(
            ["sh", "-c", step.words[0]], cwd=host, check=False, timeout=TIMEOUT
        )
    except BoxliteError as late:
        return Outcome(-1, "", late.message)
    return Outcome(done.returncode, done.stdout, done.stderr)


def _at_once(step: Step, engine: Engine, container: str, runtime: str) -> Outcome:
    with ThreadPoolExecutor(step.times) as pool:
        jobs = [
            pool.submit(_once, step, engine, container, runtime)
            for _ in range(step.times)
        ]
        seen = [job.result() for job in jobs]
    worst = max(seen, key=lambda outcome: (outcome.exit != 0, outcome.exit == -1))
    return Outcome(
        worst.exit,
        "".join(sorted(outcome.stdout for outcome in seen)),
        "".join(sorted(outcome.stderr for outcome in seen)),
    )


def _until(step: Step, engine: Engine, container: str, runtime: str) -> Outcome:
    """Look again and again until what is waited for shows."""
    deadline = time.monotonic() + PATIENCE
    pattern = re.compile(step.prints or "", re.MULTILINE)
    while True:
        outcome = engine.do(step, container, runtime)
        if pattern.search(outcome.stdout):
            # How it looked on the way is no part of the contract.
            return replace(outcome, stderr="")
        if time.monotonic() > deadline:
            return outcome
        time.sleep(PAUSE)


@contextmanager
def _place(
    unit: Unit, engine: Engine, side: Side, run: str, number: int
) -> Iterator[Names]:
    """Make what the cases ask for beside containers; remove all of it after."""
    host = Path(tempfile.mkdtemp(prefix=f"{DIRECTORY}{run}-"))
    # Users of the containers are others than the one who runs this.
    host.chmod(0o755)
    names = Names(prefix=f"{run}-{number}{side.letter}", run=run, host=host)
    flags = unit.shared.flags if unit.shared else ()
    needs = {k: mentions(unit.cases, flags, k) for k in ("volume", "network", "image")}
    try:
        if unit.shared is not None:
            _write(host, unit.shared.files, names)
        if needs["volume"]:
            engine.volume(names.volume)
        if needs["network"]:
            engine.network(names.network)
        yield names
    finally:
        engine.remove(
            names.containers,
            names.volume if needs["volume"] else None,
            names.network if needs["network"] else None,
            names.image if needs["image"] else None,
        )
        shutil.rmtree(host, ignore_errors=True)


def _write(host: Path, files: dict[str, str], names: Names) -> None:
    for name, text in files.items():
        path = host / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(names.fill(text))
