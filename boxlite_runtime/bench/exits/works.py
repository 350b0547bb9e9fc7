# SPDX-License-Identifier: Apache-2.0
"""What is counted: starts and ends, and what is done in a running container.

Owns: the works and their order. Does not own: how exits are counted
(``trace``), and the commands' words (``words``).

Call order: ``measured`` -> ``_starts``, each with a container of its own -> the
others, in one container that is kept.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from boxlite_runtime.bench.exits import machine
from boxlite_runtime.bench.exits.counts import EXITS, Counts, each, measure, middle
from boxlite_runtime.bench.exits.inside import Files, Requests, Streams, Work
from boxlite_runtime.bench.exits.trace import Trace
from boxlite_runtime.bench.record import Measure
from boxlite_runtime.bench.session import NOTHING, Session, timed
from boxlite_runtime.errors import BoxliteError, ExitCode
from boxlite_runtime.progress import Step, step

#: What can be asked for, in the order in which it is told.
WORKS = ("start", "stop", "exec", "idle", "files", "stdio", "http")

#: Those that execute commands, whose own exits are taken off.
EXECUTING = ("files", "stdio")

#: Starts that are not counted: the first of a host read what later ones have cached.
WARM = 3
#: Seconds after a command in which what it left to do still counts: a guest
#: goes on after its host was answered. No condition tells that it is over.
SETTLE = 0.5
#: Seconds that a container is left alone before it counts as idle, and then. What
#: still wakes an idle guest does so once in many seconds, but in its first two
#: minutes the oftener the younger it is: its kernel renews its random numbers after
#: half of the time it has been up.
REST = 125.0
IDLE = 15


@dataclass(frozen=True)
class Kept:
    """A running container whose exits are counted."""

    session: Session
    trace: Trace
    name: str
    threads: frozenset[int]

    def during(self, act: Callable[[], object]) -> Counts:
        """Return what is counted while ``act`` runs and shortly after."""
        self.trace.clear()
        act()
        time.sleep(SETTLE)
        return self.trace.counts(self.threads)

    def execute(self) -> Counts:
        """Return the counts of a command that does nothing."""
        return self.during(lambda: timed(self.session.words.within(self.name, NOTHING)))

    def idle(self) -> Counts:
        """Return the counts of a second in which nothing is asked."""
        self.trace.clear()
        time.sleep(IDLE)
        return each(self.trace.counts(self.threads), {}, IDLE)


def measured(
    session: Session,
    trace: Trace,
    rounds: int,
    wanted: Sequence[str] = WORKS,
    rest: float = REST,
) -> tuple[list[Measure], dict[str, str]]:
    """Count what is wanted; return a measure each and how they were come by.

    ``rest`` is for how many seconds a container is left alone before it is idle.
    """
    with step("warming up"):
        for _ in range(WARM):
            session.warm()
    found: list[Measure] = []
    method: dict[str, str] = {}
    if {"start", "stop"} & {*wanted}:
        with step(f"{rounds} starts and stops") as current:
            starts, stops, method = _starts(session, trace, rounds, current)
        found += [starts] if "start" in wanted else []
        found += [stops] if "stop" in wanted else []
    if {*wanted} - {"start", "stop"}:
        with tempfile.TemporaryDirectory(prefix="boxlite-exits-") as scratch:
            found += _within(
                session, trace, rounds, wanted, rest=rest, scratch=Path(scratch)
            )
    if "idle" in wanted:
        method["rest"] = f"{rest:g} s"
    # Seen at the machines themselves; what was probed once may have been another's.
    session.facts["Accelerator"] = "kvm"
    return found, method


def _starts(
    session: Session, trace: Trace, rounds: int, shown: Step
) -> tuple[Measure, Measure, dict[str, str]]:
    starts: list[Counts] = []
    stops: list[Counts] = []
    restored: list[bool] = []
    for number in range(rounds):
        shown.note(f"{number} of {rounds}")
        trace.clear()
        name = session.keep(session.wanted.runtime)
        found = machine.under_kvm(session.words.identity(name))
        time.sleep(SETTLE)
        threads = found.threads()
        starts.append(trace.counts(threads))
        restored.append(found.restored)
        trace.clear()
        session.end(name)
        # That the kill was sent says nothing of the end: the guest settles first.
        found.gone()
        stops.append(trace.counts(threads))
    _must_have_left(starts)
    ways = {True: "from a template", False: "booted"}
    how = " and ".join(ways[way] for way in sorted({*restored}, reverse=True))
    return measure("start", starts), measure("stop", stops), {"starts": how}


def _within(
    session: Session,
    trace: Trace,
    rounds: int,
    wanted: Sequence[str],
    *,
    rest: float,
    scratch: Path,
) -> list[Measure]:
    """Count what is done in one container, kept for all of it."""
    files, requests = Files(scratch), Requests()
    with step("starting the container"):
        flags = [*files.flags, *(requests.flags if "http" in wanted else [])]
        name = session.keep(session.wanted.runtime, flags)
        found = machine.under_kvm(session.words.identity(name))
    kept = Kept(session, trace, name, found.threads())

    def counted(title: str, act: Callable[[], Counts]) -> list[Counts]:
        with step(f"{rounds} rounds of {title}"):
            act()
            return [act() for _ in range(rounds)]

    made: list[Measure] = []
    beside: Counts = {}
    if {"exec", *EXECUTING} & {*wanted}:
        executed = counted("exec", kept.execute)
        _must_have_left(executed)
        beside = middle(executed)
        made += [measure("exec", executed)] if "exec" in wanted else []
    if "idle" in wanted:
        with step("letting it come to rest"):
            time.sleep(rest)
        made.append(measure("idle second", counted("an idle second", kept.idle)))

    def done(work: Work) -> Counts:
        work.before()
        own = beside if work.executes else {}
        return each(kept.during(work.act), own, work.amount)

    works = files.works(session, name) if "files" in wanted else []
    works += Streams(session, name).works() if "stdio" in wanted else []
    works += requests.works(session, name) if "http" in wanted else []
    for work in works:
        try:
            made.append(measure(work.name, counted(work.name, partial(done, work))))
        except BoxliteError as error:
            # What else there is can still be counted.
            reason = error.message.splitlines()[-1].removeprefix("  | ")
            session.notes.append(f"failed: {work.name}: {reason}")
            made.append(Measure(work.name, "exits", {}, {session.wanted.runtime: 1}))
    session.end(name)
    return made


def _must_have_left(values: Sequence[Counts]) -> None:
    """Raise for a machine that did something and has not one exit."""
    if not any(counts.get(EXITS) for counts in values):
        raise BoxliteError(
            "machines run under KVM, and the kernel has counted no exit of theirs",
            hint="In a container, whose pids are others: run it on the host itself.",
            exit_code=ExitCode.HOST_UNFIT,
        )
