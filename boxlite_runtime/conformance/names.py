# SPDX-License-Identifier: Apache-2.0
"""The names a case's objects have, different under each runtime.

Owns: putting names in for ``@c@``, ``@host@``, ``@volume@``, ``@network@``,
``@image@``, ``@run@``, and taking them out of what an engine says, so that the outputs
can be compared. Does not own: making the objects.
"""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from boxlite_runtime.conformance.case import Case, Step
from boxlite_runtime.conformance.engines.engine import REPOSITORY, Outcome

#: Placeholders that are no containers.
RESERVED = {"host", "volume", "network", "image", "run"}
PLACEHOLDER = re.compile(r"@([a-z]+)@")


@dataclass
class Names:
    """The names of one unit under one runtime.

    ``prefix`` is the unit's own; ``host`` is its directory on the host.
    """

    prefix: str
    run: str
    host: Path
    _containers: dict[str, str] = field(default_factory=dict)

    def container(self, key: str) -> str:
        """Return the name of a container by its key."""
        return self._containers.setdefault(key, f"{self.prefix}-{key}")

    @property
    def containers(self) -> list[str]:
        """The names handed out so far."""
        return list(self._containers.values())

    @property
    def volume(self) -> str:
        """The name of the unit's volume."""
        return f"{self.prefix}-volume"

    @property
    def network(self) -> str:
        """The name of the unit's network."""
        return f"{self.prefix}-network"

    @property
    def image(self) -> str:
        """The name of the image the unit commits."""
        suffix = self.prefix.partition("-")[2]
        return f"{REPOSITORY}/made:{self.run}-{suffix}"

    def fill(self, text: str) -> str:
        """Put names in for placeholders."""
        return PLACEHOLDER.sub(lambda match: self._name(match[1]), text)

    def _name(self, key: str) -> str:
        if key in RESERVED:
            return str(getattr(self, key))
        return self.container(key)

    def filled(self, step: Step) -> Step:
        """Return a step with its names filled in."""
        return replace(
            step,
            words=tuple(map(self.fill, step.words)),
            flags=tuple(map(self.fill, step.flags)),
            stdin=None if step.stdin is None else self.fill(step.stdin),
        )

    def masked(self, outcome: Outcome) -> Outcome:
        """Return an outcome with placeholders again where names were."""
        return replace(
            outcome,
            stdout=self._masked(outcome.stdout),
            stderr=self._masked(outcome.stderr),
        )

    def _masked(self, text: str) -> str:
        made = {name: f"@{key}@" for key, name in self._containers.items()}
        made |= {str(getattr(self, key)): f"@{key}@" for key in RESERVED}
        for name in sorted(made, key=len, reverse=True):
            text = text.replace(name, made[name])
        return text


def mentions(cases: tuple[Case, ...], flags: tuple[str, ...], key: str) -> bool:
    """Tell whether cases or flags speak of ``@key@``."""
    texts = [*flags, *(w for c in cases for s in c.steps for w in (*s.words, *s.flags))]
    return any(f"@{key}@" in text for text in texts)
