# SPDX-License-Identifier: Apache-2.0
"""What the runner asks of an engine.

Owns: the protocol, what a step gives back, and the reading of flags. Flags
and verbs in the cases are Docker's; an engine with other words translates
them, and says of those it cannot that it lacks them.

Call order: ``missing`` -> ``leftovers`` of dead runs -> ``load`` per image ->
``lacks`` and ``do`` per step -> ``remove`` per unit -> ``sweep`` at the end.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from boxlite_runtime.conformance.case import Step
from boxlite_runtime.conformance.images import Archive

#: Carried by everything a run makes; its value is the run.
LABEL = "boxlite.conformance"
#: Where images are known while a run lasts: boxlite-conformance/NAME:RUN.
REPOSITORY = "boxlite-conformance"

#: Seconds a step may take. Long, for a start under emulation on a busy host.
TIMEOUT = 180.0


@dataclass(frozen=True)
class Outcome:
    """What a step gave. ``exit`` is -1 where it did not end in time."""

    exit: int
    stdout: str = ""
    stderr: str = ""


class Engine(Protocol):
    """One engine at one address; its objects all belong to one run."""

    name: str

    def missing(self) -> str | None:
        """Return why the engine cannot be used and how to get it, or ``None``."""

    def version(self) -> str:
        """Return the versions of what answers."""

    def known(self, runtime: str) -> str:
        """Return the name by which the engine knows a runtime."""

    def load(self, name: str, archive: Archive) -> None:
        """Bring an image in, for this run."""

    def lacks(self, step: Step) -> str | None:
        """Return what of a step the engine has no word for, or ``None``."""

    def volume(self, name: str) -> None:
        """Make a volume."""

    def network(self, name: str) -> None:
        """Make a network."""

    def do(self, step: Step, container: str, runtime: str) -> Outcome:
        """Do one step. Its names are filled in already."""

    def remove(
        self,
        containers: Sequence[str],
        volume: str | None,
        network: str | None,
        image: str | None,
    ) -> None:
        """Remove what a unit made, as far as it is there."""

    def sweep(self, run: str) -> None:
        """Remove everything a run made."""

    def runs(self) -> set[str]:
        """Return the runs of which something is still there."""


class Unknown(Exception):
    """A flag that the engine has no word for."""


def split_flags(
    flags: Sequence[str], arity: Mapping[str, int]
) -> Iterator[tuple[str, str]]:
    """Yield flags as (name, value); ``arity`` knows each flag and 0 or 1.

    A flag without a value yields an empty one. Raises ``Unknown``.
    """
    words = iter(flags)
    for word in words:
        name, equals, value = word.partition("=")
        if name not in arity:
            raise Unknown(name)
        if arity[name] and not equals:
            value = next(words, "")
        yield name, value


def lines(text: str) -> list[str]:
    """Return the lines of a listing that are not blank."""
    return [line.strip() for line in text.splitlines() if line.strip()]


#: What a translated flag becomes.
Translate = Callable[[str], Sequence[str]]
