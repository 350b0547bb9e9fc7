# SPDX-License-Identifier: Apache-2.0
"""How fast what a command writes comes out of a container, and how fast what
it reads gets in.

Owns: the two directions, through ``docker exec`` in one kept container of each
runtime. A pipe on the host stands for who reads and writes; a command that
does nothing but one large write after the other stands for the container's.
"""

import shlex
from collections.abc import Sequence

from boxlite_runtime.bench.record import Measure
from boxlite_runtime.bench.rounds import alternate
from boxlite_runtime.bench.session import Session, timed
from boxlite_runtime.progress import step

#: MiB that are carried, and megabytes, which are decimal.
MIB = 256
MEGABYTES = MIB * (1 << 20) / 1e6
#: One write of the command inside: what a pipe holds.
BLOCK = 64 << 10
COUNT = (MIB << 20) // BLOCK

WRITES = ("sh", "-c", f"dd if=/dev/zero bs={BLOCK} count={COUNT} 2>/dev/null")
READS = ("sh", "-c", f"dd of=/dev/null bs={BLOCK} 2>/dev/null")


def out(argv: Sequence[str]) -> list[str]:
    """Return the command that counts what comes out, and fails if bytes miss."""
    return ["sh", "-c", f"test $({shlex.join(argv)} | wc -c) -eq {MIB << 20}"]


def into(argv: Sequence[str]) -> list[str]:
    """Return the command that feeds a command."""
    return ["sh", "-c", f"head -c {MIB << 20} /dev/zero | {shlex.join(argv)}"]


def measured(session: Session, rounds: int) -> list[Measure]:
    """Carry the same both ways for every runtime; return a measure for each way."""
    with step("starting the containers"):
        kept = {runtime: session.keep(runtime) for runtime in session.warm()}

    def carried(argv: Sequence[str]) -> float:
        return MEGABYTES / timed(argv)

    def stdout(runtime: str) -> float:
        return carried(out(session.words.within(kept[runtime], WRITES)))

    def stdin(runtime: str) -> float:
        return carried(into(session.words.fed(kept[runtime], READS)))

    found = []
    for title, measure in (("stdout", stdout), ("stdin", stdin)):
        for runtime in kept:
            measure(runtime)
        with step(f"{rounds} rounds of {title}, {', '.join(kept)}") as current:
            values = alternate(list(kept), rounds, measure, current.note)
        found.append(Measure(f"{title} of `docker exec`, {MIB} MiB", "MB/s", values))
    return found
