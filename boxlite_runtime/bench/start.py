# SPDX-License-Identifier: Apache-2.0
"""How long a container takes to start and end, and a command within one.

Owns: ``docker run --rm … true``, one at a time or many at once, the phases the
shim's log tells of them, and ``docker exec … true``. Does not own: who is
measured when (``rounds``), what the log says (``phases``).
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from boxlite_runtime import process
from boxlite_runtime.bench import phases
from boxlite_runtime.bench.record import Measure
from boxlite_runtime.bench.rounds import alternate
from boxlite_runtime.bench.session import NOTHING, Session, timed, unable
from boxlite_runtime.conformance.session import run_name
from boxlite_runtime.errors import BoxliteError
from boxlite_runtime.progress import step

#: Where the engine logs that install/docker/start has started.
LOG = Path("/run/boxlite/engine/containerd.log")
#: Seconds that one of many at once may take before it counts as failed.
LATE = 600.0


@dataclass
class Log:
    """What the shim has said since the measuring began.

    ``path`` is ``None`` where no log is known.
    """

    path: Path | None
    _from: int = 0
    lines: list[str] = field(default_factory=list)

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Keep the lines that are written while the block runs."""
        if self.path is None:
            yield
            return
        try:
            self._from = self.path.stat().st_size
            yield
            with self.path.open(errors="replace") as file:
                file.seek(self._from)
                self.lines = file.read().splitlines()
        except OSError as error:
            raise BoxliteError(f"cannot read {self.path}: {error.strerror}") from error


def found_log(named: Path | None) -> Path | None:
    """Return the log to read: the named one, else the usual one if it is there."""
    return named or (LOG if LOG.exists() else None)


def serial(
    session: Session, rounds: int, log: Log
) -> tuple[list[Measure], dict[str, list[float]]]:
    """Start one container at a time; return the measure and the phases."""
    names: list[str] = []

    def measure(runtime: str) -> float:
        name = session.fresh()
        if runtime == session.wanted.runtime:
            names.append(name)
        return timed(session.once(runtime, name))

    with step("warming up"):
        able = session.warm()
    with step(f"{rounds} rounds of {', '.join(able)}") as current, log.heard():
        values = alternate(able, rounds, measure, current.note)
    measured = Measure(f"{command(session)}, one at a time", "s", values)
    return [measured], _phases(session, names, log)


def at_once(
    session: Session, rounds: int, count: int, log: Log
) -> tuple[list[Measure], dict[str, list[float]]]:
    """Start ``count`` containers at once; return their wall time and phases.

    A start that fails is counted, and the first reason becomes a note.
    """
    names: list[str] = []
    failed: dict[str, int] = {}
    reasons: dict[str, str] = {}

    def measure(runtime: str) -> float:
        fresh = [session.fresh() for _ in range(count)]
        if runtime == session.wanted.runtime:
            names.extend(fresh)
        began = perf_counter()
        wrong = _together(session, [session.once(runtime, name) for name in fresh])
        seconds = perf_counter() - began
        failed[runtime] = failed.get(runtime, 0) + len(wrong)
        if wrong:
            reasons.setdefault(runtime, unable(runtime, wrong[0]))
        return seconds

    with step("warming up"):
        able = session.warm()
    title = f"{rounds} rounds of {count} at once, {', '.join(able)}"
    with step(title) as current, log.heard():
        values = alternate(able, rounds, measure, current.note)
    session.notes += [f"{failed[name]} failed: {why}" for name, why in reasons.items()]
    measured = Measure(f"{command(session)}, {count} at once", "s", values, failed)
    return [measured], _phases(session, names, log)


def _together(session: Session, commands: list[list[str]]) -> list[str]:
    """Run commands at once; return what those said that failed."""

    def go(argv: list[str]) -> str | None:
        try:
            done = process.run(argv, check=False, timeout=LATE)
        except BoxliteError as late:
            return late.message
        return (
            (done.stderr or f"exit code {done.returncode}") if done.returncode else None
        )

    with ThreadPoolExecutor(len(commands), thread_name_prefix="start") as pool:
        try:
            return [said for said in pool.map(go, commands) if said is not None]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            # What the threads wait for are our containers; without these they end.
            session.words.engine.sweep(run_name())
            raise


def _phases(session: Session, names: list[str], log: Log) -> dict[str, list[float]]:
    if log.path is None:
        session.notes.append(
            f"no phases: {LOG} is not there; --log names the log of containerd"
        )
        return {}
    ids = {session.words.identity(name) for name in names}
    starts = phases.of(log.lines, ids)
    if not starts:
        session.notes.append(f"no phases: {log.path} has no line of these starts")
    elif len(starts) < len(names):
        session.notes.append(f"phases of {len(starts)} of {len(names)} starts")
    return phases.columns(starts)


def command(session: Session) -> str:
    """Return what is timed, as a person would type it."""
    engine = session.wanted.engine
    return f"`{engine} run --rm … {' '.join(NOTHING)}`"


def executing(session: Session, rounds: int) -> list[Measure]:
    """Execute in one container of each runtime, kept running."""
    engine = session.wanted.engine
    with step("starting the containers"):
        kept = {runtime: session.keep(runtime) for runtime in session.warm()}

    def measure(runtime: str) -> float:
        return timed(session.words.within(kept[runtime], NOTHING))

    for runtime in kept:
        measure(runtime)
    with step(f"{rounds} rounds of {', '.join(kept)}") as current:
        values = alternate(list(kept), rounds, measure, current.note)
    verb = "exec" if engine == "docker" else "task exec"
    return [Measure(f"`{engine} {verb} … {' '.join(NOTHING)}`", "s", values)]
