# SPDX-License-Identifier: Apache-2.0
"""What a conformance case is, once read.

Owns: the shape of cases. Does not own: reading them (``schema``), running
them (``runner``), judging what came out (``compare``).

A case is one contract, named by it, and a list of steps: what a person would
type at the engine, one after another. The same steps are done under the
reference runtime and under the one in question. A case ``inside`` a shared
container has exec steps only, in a container that other cases use as well.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class Match(StrEnum):
    """How the two outputs of a step are compared."""

    #: Byte for byte, but for names the runner made up.
    SAME = "same"
    #: The same lines in any order.
    SORTED = "sorted"
    #: Not at all; what both must say stands in ``prints`` or ``says``.
    IGNORE = "ignore"


class Exit(StrEnum):
    """What may stand for the exit code of a step instead of a number."""

    #: Any but 0, and the same under both runtimes.
    NONZERO = "nonzero"
    #: Not compared.
    ANY = "any"


@dataclass(frozen=True)
class Keystroke:
    """One thing typed at a terminal, ``send`` once ``after`` has shown."""

    after: str
    send: str


@dataclass(frozen=True)
class Step:
    """One thing done to an engine, and what it must give.

    ``verb`` is the engine's command, or ``host`` for a shell script beside
    the case's files. ``words`` are the command run (run, create, exec), the
    script (host), the dotted paths (inspect) or the words after the verb.
    ``on`` is the key of the container, by which names are made.
    """

    verb: str
    words: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    image: str = "busybox"
    on: str = "c"
    stdin: str | None = None
    keys: tuple[Keystroke, ...] = ()
    exit: int | Exit = 0
    stdout: Match = Match.SAME
    stderr: Match = Match.SAME
    #: Regular expressions that must be found in stdout and stderr.
    prints: str | None = None
    says: str | None = None
    #: Repeat until ``prints`` is found, for states that come in their time.
    until: bool = False
    #: How many of it at once; what they print is put together, sorted.
    times: int = 1


@dataclass(frozen=True)
class Condition:
    """A shell test of the host; where it fails the case is skipped."""

    host: str
    otherwise: str


@dataclass(frozen=True)
class Difference:
    """A declared difference: why it is, and where the limits say so."""

    reason: str
    link: str


@dataclass(frozen=True)
class Shared:
    """A container that several cases look into."""

    name: str
    image: str = "busybox"
    flags: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One contract. ``path`` and ``line`` are where it is declared.

    ``alone`` is the reason why the reference cannot be compared with: then
    the steps' own expectations are all that is checked.
    """

    name: str
    area: str
    path: Path
    line: int
    steps: tuple[Step, ...]
    core: bool = False
    engines: tuple[str, ...] = ()
    shared: Shared | None = None
    files: dict[str, str] = field(default_factory=dict)
    when: Condition | None = None
    alone: str | None = None
    difference: Difference | None = None

    @property
    def images(self) -> set[str]:
        """The images the case needs."""
        made = {s.image for s in self.steps if s.verb in {"run", "create"}}
        return made | ({self.shared.image} if self.shared else set())
