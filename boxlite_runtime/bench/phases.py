# SPDX-License-Identifier: Apache-2.0
"""What the shim says of a start: its log's lines, and the parts they make.

Owns: reading the ``t_*`` fields of the lines of one start, and cutting a start
into parts that follow each other. Does not own: the lines; they are written
in ``container/mod.rs``, ``container/start.rs`` and ``sandbox/`` of the shim.

``t_launch``, ``t_create`` and ``t_boot`` count from Create, ``t_scan``,
``t_guest``, ``t_container`` and ``t_start`` from Start, ``t_total`` from Create
to the end of Start; the others are single steps.

::

  Create ─ plan ─ net ─ share ─ spawn ─ restore ─ hooks ┐ engine
             └─ cgroup ──┘     (the guest boots from    └────────┐
                               here on)                          │
                        Start ─ scan ─ guest ─ container ─ start ┘
"""

import re
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

#: One start: the name of a field without ``t_`` -> seconds.
Times = Mapping[str, float]

#: A line of one container: what happened, whose it is, the rest.
LINE = re.compile(r' INFO (?P<what>[a-z ]+?) id="?(?P<id>[\w.-]+)"?(?P<fields> .*)?$')
FIELD = re.compile(r"\bt_(\w+)=\"?(?:Some\()?([\d.]+)(ns|µs|ms|s)\b")
SECONDS = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1.0}

#: What a start that came to its end has told.
WHOLE = {"launch", "create", "scan", "guest", "container", "start", "total"}
#: Seconds above which a machine went on from a template: without one the
#: shim measures an empty step.
RESTORED = 1e-4


@dataclass(frozen=True)
class Part:
    """A part of a start as a person sees it. ``seconds`` is a median."""

    name: str
    seconds: float


def of(lines: Iterable[str], ids: Collection[str]) -> list[Times]:
    """Return the starts of the named containers that came to their end."""
    found: dict[str, dict[str, float]] = {}
    for line in lines:
        match = LINE.search(line.rstrip())
        if match and match["id"] in ids:
            fields = FIELD.findall(match["fields"] or "")
            found.setdefault(match["id"], {}).update(
                {name: float(number) * SECONDS[unit] for name, number, unit in fields}
            )
    return [times for times in found.values() if times.keys() >= WHOLE]


def columns(starts: Sequence[Times]) -> dict[str, list[float]]:
    """Return the values of each field, and of ``shim``: Create and Start.

    A field that only some starts have is left out: its values would not
    be those of the same starts.
    """
    if not starts:
        return {}
    names = [name for name in starts[0] if all(name in times for times in starts)]
    shim = [times["create"] + times["start"] for times in starts]
    return {name: [times[name] for times in starts] for name in names} | {"shim": shim}


def from_template(phases: Mapping[str, Sequence[float]]) -> bool:
    """Tell whether most machines of these starts went on from a template."""
    restored = phases.get("restore", ())
    return bool(restored) and statistics.median(restored) > RESTORED


def parts(phases: Mapping[str, Sequence[float]], wall: float) -> list[Part]:
    """Return what follows each other between the command and its end.

    ``wall`` is the median of the whole command, in seconds. The last part is
    what the others leave of it, so that all together are as long as the command.
    """
    median = {name: statistics.median(values) for name, values in phases.items()}
    if not median.keys() >= WHOLE:
        return []
    spawn, restore = median.get("spawn", 0.0), median.get("restore", 0.0)
    found = [
        # The cgroup is made while the network and the share are: one part.
        Part("plan, cgroup, network, share", median["launch"] - spawn - restore),
        Part("start of QEMU", spawn),
        Part("going on from the template", restore),
        Part("engine's hooks", median["create"] - median["launch"]),
        Part("engine, Create to Start", median["total"] - median["start"] - median["create"]),
        Part("scan of the network", median["scan"]),
        Part("waiting for the guest", median["guest"] - median["scan"]),
        Part("waiting for the container", median["container"] - median["guest"]),
        Part("first process", median["start"] - median["container"]),
    ]  # fmt: skip
    found = [Part(part.name, max(0.0, part.seconds)) for part in found]
    rest = wall - sum(part.seconds for part in found)
    return [*found, Part("engine, before and after", max(0.0, rest))]
