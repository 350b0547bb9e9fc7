# SPDX-License-Identifier: Apache-2.0
"""What an idle container costs the host in memory.

Owns: finding the processes of a container and summing their proportional set
size: a page that several processes share is divided among them, so that the
sum over all is what the host really spends. Does not own: what is inside.
"""

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from boxlite_runtime.bench.record import Measure
from boxlite_runtime.bench.session import Session
from boxlite_runtime.errors import BoxliteError, ExitCode
from boxlite_runtime.progress import step

#: What a process of a container is called -> how its program's name begins.
ROLES = {
    "shim": "containerd-shim-",
    "QEMU": "qemu-system-",
    "virtiofsd": "virtiofsd",
}
ALL = "all together"
#: Seconds for what a guest still does after its start.
SETTLE = 5.0


@dataclass(frozen=True)
class Seen:
    """A process: its command line and its share of memory in MiB."""

    command: str
    pss: float


def role(command: str) -> str | None:
    """Return which process of a container this is, ``None`` for another's."""
    program = Path(command.partition(" ")[0]).name
    return next((r for r, begin in ROLES.items() if program.startswith(begin)), None)


def per_container(
    ids: Iterable[str], seen: Iterable[Seen]
) -> list[Mapping[str, float]]:
    """Return for each container the MiB of each role and of all.

    A process belongs to the container whose id is in its command line. One
    that has no process of a role has no entry for it.
    """
    known = [process for process in seen if role(process.command)]
    found: list[Mapping[str, float]] = []
    for identity in ids:
        sums: dict[str, float] = {}
        for process in known:
            name = role(process.command)
            if name is not None and identity in process.command:
                sums[name] = sums.get(name, 0.0) + process.pss
        found.append(sums | {ALL: sum(sums.values())})
    return found


def pss(smaps_rollup: str) -> float:
    """Return the MiB that smaps_rollup says are this process's part."""
    match = re.search(r"^Pss:\s+(\d+) kB$", smaps_rollup, re.MULTILINE)
    return int(match[1]) / 1024 if match else 0.0


def processes() -> list[Seen]:
    """Return the processes of this host that a container may have.

    Raises ``BoxliteError`` for who may not look into them.
    """
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            line = (entry / "cmdline").read_bytes().rstrip(b"\0")
            command = line.replace(b"\0", b" ").decode(errors="replace")
            if role(command):
                text = (entry / "smaps_rollup").read_text()
                found.append(Seen(command, pss(text)))
        except PermissionError as error:
            raise BoxliteError(
                "the memory of other users' processes cannot be read",
                hint="Run it as root.",
                exit_code=ExitCode.HOST_UNFIT,
            ) from error
        except (FileNotFoundError, ProcessLookupError):
            # It ended between the two looks.
            continue
    return found


def idle(session: Session, count: int) -> list[Measure]:
    """Keep ``count`` containers, let them come to rest, and look once.

    Each value is that of one container.
    """
    runtime = session.wanted.runtime
    names: list[str] = []
    with step(f"starting {count} containers of {runtime}") as current:
        for number in range(count):
            current.note(f"{number} of {count}")
            names.append(session.keep(runtime))
    with step("letting them come to rest"):
        # No condition to wait for: rest is time passed.
        time.sleep(SETTLE)
    ids = [session.words.identity(name) for name in names]
    found = per_container(ids, processes())
    if not all(sums[ALL] for sums in found):
        raise BoxliteError(
            "the containers have no processes on this host",
            hint="Memory can only be measured where the engine is.",
        )
    measures = []
    for name in (*ROLES, ALL):
        values = [sums[name] for sums in found if name in sums]
        if values:
            measures.append(Measure(name, "MiB", {runtime: values}))
    return measures
