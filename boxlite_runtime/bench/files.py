# SPDX-License-Identifier: Apache-2.0
"""How fast files are, on a volume and on the root filesystem.

Owns: the works, and doing each in turns in one kept container of each runtime.
The time is taken inside, so that the way of a command into the container is
not in it. Does not own: the host's caches; what was just written is in them,
under every runtime alike.

Call order: ``measured`` -> the input, made once -> each work: tried once, then
the rounds.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from boxlite_runtime.bench.record import Measure
from boxlite_runtime.bench.rounds import alternate
from boxlite_runtime.bench.session import Session
from boxlite_runtime.conformance.session import run_name
from boxlite_runtime.errors import BoxliteError
from boxlite_runtime.progress import Step, step

#: Where the volume is in each container.
VOLUME = PurePosixPath("/volume")
#: Name of a place -> the directory the works are done in; the volume is
#: shared, so that there a runtime's number is added.
PLACES = {"root filesystem": PurePosixPath("/bench"), "volume": VOLUME}

#: MiB of the file that is read and written, and megabytes, which are decimal.
MIB = 256
MEGABYTES = MIB * (1 << 20) / 1e6
#: Files of the archive; those of the repository.
FILES = 10_000
COMMITTED = 2_000
READS = 2_000
#: Seconds one work may take; files are slow under emulation.
TIMEOUT = 900.0

#: Prints nanoseconds. A date without %N leaves the letter, and the clock that
#: is left counts hundredths.
NOW = (
    "now() { n=$(date +%s%N); case $n in *N) read -r up _ </proc/uptime;"
    ' n=${up%.*}${up#*.}0000000;; esac; echo "$n"; }'
)

#: Files of 1 KiB in directories of a hundred, their archive, and a repository.
INPUT = f"""
set -e; mkdir -p {VOLUME}/input/tree; cd {VOLUME}/input/tree; i=0
while [ $i -lt {FILES} ]; do
  d=$((i / 100)); [ -d $d ] || mkdir $d; printf '%01024d' $i >$d/$i; i=$((i + 1))
done
tar -cf ../files.tar .
if command -v git >/dev/null; then
  mkdir ../repository; cd ../repository; git init -q . 2>/dev/null; i=0
  while [ $i -lt {COMMITTED // 100} ]; do cp -r ../tree/$i .; i=$((i + 1)); done
  git add .; git -c user.name=bench -c user.email=bench@localhost commit -q -m files
fi
"""

#: Past the caches, which wants an aligned buffer: a mapping is one.
RANDOM = f"""
import mmap, os, time
file = os.open("file", os.O_RDONLY | os.O_DIRECT)
page, place = mmap.mmap(-1, 4096), 1
began = time.perf_counter_ns()
for _ in range({READS}):
    place = (place * 1103515245 + 12345) % (1 << 31)
    os.preadv(file, [page], place % ({MIB} * 256) * 4096)
print(time.perf_counter_ns() - began)
"""


@dataclass(frozen=True)
class Work:
    """Something done with files. ``script`` prints its nanoseconds.

    ``amount`` is how much of ``unit``, a second left out, it does; 0 where the
    time itself is the value. ``needs`` is a program the image must have. What
    makes ``many`` files has a container of its own each time: the files that
    a guest has met cost it memory, and the host an open file each.
    """

    name: str
    unit: str
    script: str
    amount: float = 0.0
    needs: str = "sh"
    many: bool = False

    def value(self, nanoseconds: float) -> float:
        """Return the value in ``unit``."""
        seconds = nanoseconds / 1e9
        return self.amount / seconds if self.amount else seconds


def clocked(work: str) -> str:
    """Return a script that times ``work`` and prints its nanoseconds.

    ``$new`` is a directory that is there and empty. It stays: ext4 searches
    long for inodes where many were freed a minute ago, under any runtime.
    """
    before = f"set -e; {NOW}; new=$(mktemp -d new.XXXXXX)"
    return f"{before}; a=$(now); {work}; b=$(now); echo $((b - a))"


def _dd(words: str) -> str:
    return clocked(f"dd {words} bs=1M count={MIB} 2>/dev/null")


WORKS = (
    Work("write, with fsync", "MB/s", _dd("if=/dev/zero of=file conv=fsync"), MEGABYTES),
    Work("read, cached", "MB/s", _dd("if=file of=/dev/null"), MEGABYTES),
    Work("write, direct", "MB/s", _dd("if=/dev/zero of=file oflag=direct"), MEGABYTES),
    Work("read, direct", "MB/s", _dd("if=file of=/dev/null iflag=direct"), MEGABYTES),
    Work("random reads of 4 KiB, direct", "1/s", f"python3 -c '{RANDOM}'", READS, "python3"),
    Work(
        f"untar {FILES:,} files", "s",
        clocked(f'tar -xf {VOLUME}/input/files.tar -C "$new"'),
        many=True,
    ),
    Work(
        f"git clone of {COMMITTED:,} files", "s",
        clocked(f'git clone -q --no-hardlinks {VOLUME}/input/repository "$new"'),
        needs="git",
        many=True,
    ),
)  # fmt: skip


def within(place: PurePosixPath, script: str) -> list[str]:
    """Return the command that does a script in a directory, made if need be."""
    return ["sh", "-c", f"mkdir -p {place} && cd {place} && {{ {script}\n}}"]


def directory(place: str, number: int) -> PurePosixPath:
    """Return where the runtime with this number works."""
    path = PLACES[place]
    return path / f"side{number}" if path == VOLUME else path


@dataclass
class Sides:
    """The containers of the runtimes, each with the shared volume."""

    session: Session
    volume: str
    numbers: dict[str, int]
    kept: dict[str, str]

    def container(self, runtime: str) -> str:
        """Start a container that stays, and return its name."""
        return self.session.keep(runtime, ["--volume", f"{self.volume}:{VOLUME}"])

    def value(self, work: Work, place: str, runtime: str) -> float:
        """Do a work once, and return its value. Raises ``BoxliteError``."""
        name = self.container(runtime) if work.many else self.kept[runtime]
        # What the work before left to be written would be paid by this one.
        os.sync()
        words = within(directory(place, self.numbers[runtime]), work.script)
        said = self.session.said(name, words, TIMEOUT)
        if work.many:
            self.session.end(name)
        return work.value(taken(said, work.name))


def measured(session: Session, rounds: int) -> list[Measure]:
    """Do every work the image can at every place; return a measure for each."""
    able = session.warm()
    sides = Sides(
        session, f"bench-{run_name()}", {n: at for at, n in enumerate(able)}, {}
    )
    session.words.engine.volume(sides.volume)
    with step("starting the containers"):
        sides.kept |= {runtime: sides.container(runtime) for runtime in able}
    first = sides.kept[session.wanted.reference]
    with step(f"making {FILES:,} files"):
        session.said(first, ["sh", "-c", INPUT], TIMEOUT)
    works = [work for work in WORKS if _has(session, first, work)]
    with step(f"{rounds} rounds of {', '.join(able)}") as current:
        found = [
            _measured(sides, work, place, rounds, current)
            for place in PLACES
            for work in works
        ]
    return [measure for measure in found if measure is not None]


def _has(session: Session, container: str, work: Work) -> bool:
    asked = ["sh", "-c", f"command -v {work.needs} || true"]
    if session.said(container, asked).strip():
        return True
    session.notes.append(f"left out: {work.name}, the image has no {work.needs}")
    return False


def _measured(
    sides: Sides, work: Work, place: str, rounds: int, shown: Step
) -> Measure | None:
    title = f"{work.name}, {place}"
    at = ""

    def measure(runtime: str) -> float:
        nonlocal at
        at = runtime
        return sides.value(work, place, runtime)

    def told(where: str) -> None:
        shown.note(f"{title}: {where}")

    tried = False
    try:
        for runtime in sides.kept:
            told(f"trying {runtime}")
            measure(runtime)
        tried = True
        values = alternate(list(sides.kept), rounds, measure, told)
    except BoxliteError as error:
        reason = error.message.splitlines()[-1].removeprefix("  | ")
        how = "failed" if tried else "left out"
        sides.session.notes.append(f"{how}: {title}, {at}: {reason}")
        # What cannot be done at all (no O_DIRECT here, for instance) is not the
        # same work for both. What could be done before has failed.
        return Measure(title, work.unit, {}, {at: 1}) if tried else None
    return Measure(title, work.unit, values)


def taken(stdout: str, title: str) -> int:
    """Return the nanoseconds a script printed, at least the clock's one."""
    words: Sequence[str] = stdout.split()
    if not words or not words[-1].isdigit():
        raise BoxliteError(f"{title} does not tell its time: {stdout[-80:]!r}")
    return max(1, int(words[-1]))
