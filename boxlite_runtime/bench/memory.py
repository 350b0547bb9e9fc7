# SPDX-License-Identifier: Apache-2.0
"""What an idle container costs the host in memory.

Owns: finding the processes of a container and summing their proportional set
size: a page that several processes share is divided among them, so that the
sum over all is what the host really spends. The guest's memory is a file that
several of them map in part; it counts once, with all that it holds, whoever
has looked at it. Does not own: what is inside.
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
GUEST = "guest"
ALL = "all together"
#: Files that are a guest's memory, as smaps names them.
GUEST_FILES = ("/memfd:boxlite-ram", "/memfd:memory-backend-memfd")
#: Seconds for what a guest still does after its start.
SETTLE = 5.0


@dataclass(frozen=True)
class Seen:
    """A process: its command line and its share of memory in MiB.

    ``guest`` is what the guest's memory holds, for the process that is the machine;
    it is not in ``pss``.
    """

    command: str
    pss: float
    guest: float = 0.0


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
                if process.guest:
                    sums[GUEST] = sums.get(GUEST, 0.0) + process.guest
        found.append(sums | {ALL: sum(sums.values())})
    return found


@dataclass(frozen=True)
class Mapped:
    """What smaps tells of a process: its share in MiB, but for its guest's memory."""

    pss: float
    #: Addresses of the guest's memory, as in the names of map_files.
    guest: tuple[str, ...]


def mapped(smaps: str) -> Mapped:
    """Return what smaps tells, proc_pid_smaps(5)."""
    total = 0
    guest: list[str] = []
    counted = True
    for line in smaps.splitlines():
        if begin := re.match(r"([0-9a-f]+-[0-9a-f]+) \S+ \S+ \S+ \S+ *(.*)", line):
            counted = not begin[2].startswith(GUEST_FILES)
            guest += [] if counted else [begin[1]]
        elif counted and (share := re.match(r"Pss:\s+(\d+) kB$", line)):
            total += int(share[1])
    return Mapped(total / 1024, tuple(guest))


def held(entry: Path, addresses: Iterable[str]) -> float:
    """Return the MiB in the files that a process has mapped there, each counted once."""
    files = [(entry / "map_files" / range_).stat() for range_ in addresses]
    blocks = {(file.st_dev, file.st_ino): file.st_blocks for file in files}
    return sum(blocks.values()) * 512 / (1 << 20)


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
            if name := role(command):
                own = mapped((entry / "smaps").read_text())
                # Others that map it are served by this one.
                guest = held(entry, own.guest) if name == "QEMU" else 0.0
                found.append(Seen(command, own.pss, guest))
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
    for name in (*ROLES, GUEST, ALL):
        values = [sums[name] for sums in found if name in sums]
        if values:
            measures.append(Measure(name, "MiB", {runtime: values}))
    return measures
