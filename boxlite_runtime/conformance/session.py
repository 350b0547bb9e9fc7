# SPDX-License-Identifier: Apache-2.0
"""One run of the cases at one engine.

Owns: the run's name, its images, the order of units and the jobs, and leaving
nothing behind, be it after an interrupt or after a run that was killed. Does
not own: what a unit does (``runner``), what is told about it (``report``).
"""

import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from boxlite_runtime import process
from boxlite_runtime.conformance.case import Case
from boxlite_runtime.conformance.compare import Observation, Result, Verdict, judge
from boxlite_runtime.conformance.engines.engine import Engine, Outcome
from boxlite_runtime.conformance.images import archive_of
from boxlite_runtime.conformance.runner import DIRECTORY, Side, Unit, observe, units
from boxlite_runtime.errors import BoxliteError

Told = Callable[[Result], None]


def run_name(pid: int | None = None) -> str:
    """Return the name of a process's run: its pid and when it began.

    Raises ``OSError`` where there is no such process.
    """
    number = os.getpid() if pid is None else pid
    stat = Path(f"/proc/{number}/stat").read_text()
    ticks = stat.rpartition(")")[2].split()[19]
    return f"p{number}t{ticks}"


def alive(run: str) -> bool:
    """Tell whether the process of a run still lives, on this host."""
    pid = run.removeprefix("p").partition("t")[0]
    try:
        return pid.isdigit() and run_name(int(pid)) == run
    except OSError:
        return False


@dataclass(frozen=True)
class Session:
    """The engine, the two runtimes and how much is done at once.

    ``local`` says that the engine is on this host, where it can be known
    whether another run still lives.
    """

    engine: Engine
    runtime: str
    reference: str
    jobs: int
    cache: Path
    run: str
    local: bool = True

    def go(self, cases: list[Case], told: Told) -> list[Result]:
        """Run cases and tell of each as it is judged; in the cases' order."""
        if self.local:
            for run in self.engine.runs():
                if not alive(run):
                    self.engine.sweep(run)
            _sweep_directories()
        results = {case.name: skip for case in cases if (skip := self._skipped(case))}
        for skip in results.values():
            told(skip)
        wanted = [case for case in cases if case.name not in results]
        try:
            self._load(wanted)
            for result in self._run(units(wanted), told):
                results[result.case.name] = result
        finally:
            self.engine.sweep(self.run)
            _remove_directories(self.run)
        return [results[case.name] for case in cases]

    def _load(self, cases: list[Case]) -> None:
        for name in sorted({image for case in cases for image in case.images}):
            self.engine.load(name, archive_of(name, self.cache))

    def _skipped(self, case: Case) -> Result | None:
        reason = None
        if case.engines and self.engine.name not in case.engines:
            reason = f"it is about {' and '.join(case.engines)}"
        for step in case.steps:
            reason = reason or self.engine.lacks(step)
        if case.shared is not None:
            flags = case.shared.flags
            probe = case.steps[0].__class__("run", flags=flags, words=case.shared.words)
            reason = reason or self.engine.lacks(probe)
        if reason is None and case.when is not None:
            said = process.run(["sh", "-c", case.when.host], check=False, timeout=30)
            reason = case.when.otherwise if said.returncode else None
        return Result(case, Verdict.SKIPPED, (reason,)) if reason else None

    def _run(self, todo: list[Unit], told: Told) -> list[Result]:
        results: list[Result] = []
        stop = threading.Event()
        sides = Side("r", self.reference), Side("b", self.runtime)
        with ThreadPoolExecutor(self.jobs, thread_name_prefix="unit") as pool:
            waiting: set[Future[list[Result]]] = {
                pool.submit(self._unit, unit, sides, number, stop)
                for number, unit in enumerate(todo)
            }
            try:
                while waiting:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in done:
                        for result in future.result():
                            results.append(result)
                            told(result)
            except BaseException:
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                # What the jobs wait for are our containers; without these they end.
                self.engine.sweep(self.run)
                raise
        return results

    def _unit(
        self, unit: Unit, sides: tuple[Side, Side], number: int, stop: threading.Event
    ) -> list[Result]:
        seen: list[dict[str, Observation]] = []
        alone = all(case.alone for case in unit.cases)
        for side in sides:
            if stop.is_set():
                return []
            if side is sides[0] and alone:
                seen.append({})
                continue
            try:
                seen.append(observe(unit, self.engine, side, self.run, number))
            except BoxliteError as error:
                failed = Observation((Outcome(-1, "", error.message),))
                seen.append({case.name: failed for case in unit.cases})
        reference, found = seen
        return [
            judge(case, None if case.alone else reference[case.name], found[case.name])
            for case in unit.cases
        ]


def _directories() -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(f"{DIRECTORY}*"))


def _run_of(directory: Path) -> str:
    return directory.name.removeprefix(DIRECTORY).partition("-")[0]


def _remove_directories(run: str) -> None:
    for directory in _directories():
        if _run_of(directory) == run:
            shutil.rmtree(directory, ignore_errors=True)


def _sweep_directories() -> None:
    for directory in _directories():
        if not alive(_run_of(directory)):
            shutil.rmtree(directory, ignore_errors=True)
