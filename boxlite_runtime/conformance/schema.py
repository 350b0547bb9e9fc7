# SPDX-License-Identifier: Apache-2.0
"""Reads files of cases; a mistake names file and line.

Owns: what may stand in ``cases/*.yaml``. Does not own: YAML itself
(``located``). The keys are explained in docs/reference/conformance-cases.md.

Call order: ``load`` -> ``read_file`` for each -> ``_case`` -> ``_step``.
"""

import re
from dataclasses import replace
from pathlib import Path

from boxlite_runtime.conformance.case import (
    Case,
    Condition,
    Difference,
    Exit,
    Keystroke,
    Match,
    Shared,
    Step,
)
from boxlite_runtime.conformance.images import RECIPES
from boxlite_runtime.conformance.located import Place, Table, read

CASES = Path(__file__).with_name("cases")
LIMITS = "docs/explanation/limits.md#"

#: Step verbs that start a command of the case's choice.
STARTING = ("run", "create", "exec")
#: Step verbs that take words, which the engine's command takes after the verb.
PLAIN = (
    "start", "stop", "restart", "kill", "pause", "unpause", "wait", "logs",
    "attach", "inspect", "top", "stats", "update", "rename", "rm", "cp", "diff",
    "commit", "export", "port", "events", "host", "engine",
)  # fmt: skip
#: Engines a case may be restricted to.
ENGINES = ("docker", "docker-sdk", "nerdctl", "ctr")

#: Keeps a container alive and ends at once when asked to.
IDLE = ("sh", "-c", "trap 'exit 0' TERM; sleep 86400 & wait")


def load(directory: Path = CASES) -> list[Case]:
    """Read every file of cases; two cases of one name are refused."""
    cases: list[Case] = []
    seen: dict[str, Case] = {}
    for path in sorted(directory.glob("*.yaml")):
        for case in read_file(path):
            if case.name in seen:
                other = seen[case.name]
                Place(case.path, case.line).refuse(
                    f"the name stands at {other.path}:{other.line} already"
                )
            seen[case.name] = case
            cases.append(case)
    return cases


def read_file(path: Path) -> list[Case]:
    """Read one file: its area, its shared containers, its cases."""
    top = read(path)
    area = top.text("area")
    shared: dict[str, Shared] = {}
    containers = top.table("containers")
    for name in containers.keys() if containers else ():
        inner = containers.table(name) if containers else None
        if inner is not None:
            shared[name] = _shared(name, inner)
    cases = [_case(table, area, shared) for table in top.tables("cases")]
    top.done()
    if not cases:
        top.place.refuse("no cases in it")
    return cases


def _shared(name: str, table: Table) -> Shared:
    words = _command(table)
    read = Shared(
        name=name,
        image=_image(table),
        flags=table.words("flags"),
        words=IDLE if words is None else words,
        files=table.texts("files"),
    )
    table.done()
    return read


def _case(table: Table, area: str, containers: dict[str, Shared]) -> Case:
    place = table.place
    name = table.text("name")
    inside = table.maybe_text("in")
    if inside is not None and inside not in containers:
        table.at("in").refuse(f"no container {inside!r} in this file")
    shared = containers[inside] if inside else None
    if "steps" in table:
        steps = tuple(_step(step) for step in table.tables("steps"))
        if not steps:
            table.at("steps").refuse("steps must not be empty")
    else:
        steps = _single(table, "exec" if shared else "run")
    if shared and any(s.verb not in {"exec", "host"} for s in steps):
        place.refuse("in a shared container there are exec and host steps only")
    case = Case(
        name=name,
        area=area,
        path=place.path,
        line=place.line,
        steps=steps,
        core=table.flag("core"),
        engines=table.words("engines"),
        shared=shared,
        files=table.texts("files"),
        when=_condition(table.table("when")),
        alone=table.maybe_text("alone"),
        difference=_difference(table.table("difference")),
    )
    for engine in case.engines:
        if engine not in ENGINES:
            table.at("engines").refuse(f"no engine is called {engine!r}")
    table.done()
    return case


def _single(table: Table, verb: str) -> tuple[Step, ...]:
    """Read a case that is one command; after a run, the state it left."""
    words = _command(table)
    if words is None:
        table.place.refuse("steps, script or command must be there")
    step = _expected(
        table,
        Step(
            verb=verb,
            words=words,
            flags=table.words("flags"),
            image=_image(table) if verb == "run" else "busybox",
            stdin=table.maybe_text("stdin"),
        ),
    )
    if verb == "exec" or "--rm" in step.flags:
        return (step,)
    return (step, Step("state"))


def _step(table: Table) -> Step:
    verbs = [key for key in table.keys() if key in (*STARTING, *PLAIN)]  # noqa: SIM118  (a Table is no dict)
    if len(verbs) != 1:
        table.place.refuse(f"one verb is needed: {', '.join((*STARTING, *PLAIN))}")
    verb = verbs[0]
    step = Step(verb=verb)
    if verb in STARTING:
        inner = table.table(verb)
        if inner is None:
            table.at(verb).refuse(f"{verb} must be a table")
        words = _command(inner)
        if words is None:
            if verb == "exec":
                inner.place.refuse("exec needs a script or a command")
            words = IDLE
        step = replace(step, words=words, flags=inner.words("flags"))
        if verb != "exec":
            step = replace(step, image=_image(inner))
        step = replace(step, stdin=inner.maybe_text("stdin"))
        inner.done()
    elif verb == "host":
        step = replace(step, words=(table.text(verb),))
    else:
        step = replace(step, words=table.words(verb))
    step = replace(
        step,
        on=table.text("on", "c"),
        keys=tuple(_key(key) for key in table.tables("type")),
        until=table.flag("until"),
    )
    times = table.take("times")
    if times is not None:
        if not isinstance(times, int) or times < 2:
            table.at("times").refuse("times must be a number above 1")
        step = replace(step, times=times)
    step = _expected(table, step)
    if step.until and step.prints is None:
        table.at("until").refuse("until needs prints")
    table.done()
    return step


def _expected(table: Table, step: Step) -> Step:
    """Read the keys that say what a step must give."""
    return replace(
        step,
        exit=_exit(table),
        stdout=Match(table.choice("stdout", Match, Match.SAME)),
        stderr=Match(table.choice("stderr", Match, Match.SAME)),
        prints=_pattern(table, "prints"),
        says=_pattern(table, "says"),
    )


def _exit(table: Table) -> int | Exit:
    value = table.take("exit")
    if value is None:
        return 0
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if value not in list(Exit):
        table.at("exit").refuse("exit must be a number, nonzero or any")
    return Exit(value)


def _pattern(table: Table, key: str) -> str | None:
    text = table.maybe_text(key)
    if text is not None:
        try:
            re.compile(text)
        except re.error as error:
            table.at(key).refuse(f"{key} is no regular expression: {error}")
    return text


def _command(table: Table) -> tuple[str, ...] | None:
    if "script" in table and "command" in table:
        table.at("script").refuse("script and command exclude each other")
    if "script" in table:
        return ("sh", "-c", table.text("script"))
    return table.words("command") if "command" in table else None


def _image(table: Table) -> str:
    return table.choice("image", RECIPES, "busybox")


def _key(table: Table) -> Keystroke:
    key = Keystroke(table.maybe_text("after") or "", table.maybe_text("send") or "")
    table.done()
    return key


def _condition(table: Table | None) -> Condition | None:
    if table is None:
        return None
    condition = Condition(table.text("host"), table.text("otherwise"))
    table.done()
    return condition


def _difference(table: Table | None) -> Difference | None:
    if table is None:
        return None
    difference = Difference(table.text("reason"), table.text("link"))
    if not difference.link.startswith(LIMITS):
        table.at("link").refuse(f"link must begin with {LIMITS}")
    table.done()
    return difference
