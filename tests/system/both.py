# SPDX-License-Identifier: Apache-2.0
"""Does the same under the reference runtime and under BoxLite, and compares.

Owns: the order (reference first, so that a wrong test is told from a wrong
runtime) and the comparison. Does not own: the contract, which the test
asserts on the value handed back.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tests.engines.command import Result, Word
from tests.engines.docker import Docker

T = TypeVar("T")


@dataclass(frozen=True)
class Both:
    """One engine with two runtimes."""

    reference: Docker
    boxlite: Docker

    def same(self, scenario: Callable[[Docker], T]) -> T:
        """Run ``scenario`` under each runtime; fail unless the values are equal."""
        expected = scenario(self.reference)
        found = scenario(self.boxlite)
        assert found == expected, (
            f"{self.boxlite.runtime} differs from {self.reference.runtime}\n"
            f"{self.reference.runtime}: {_shown(expected)}\n"
            f"{self.boxlite.runtime}: {_shown(found)}"
        )
        return found

    def run(self, *words: Word, stdin: bytes = b"") -> Result:
        """Run ``docker run WORDS`` under each and compare code and bytes."""
        return self.same(lambda docker: docker.run("--rm", *words, stdin=stdin))

    def sh(self, script: str, *options: Word, stdin: bytes = b"") -> Result:
        """Run a shell script in the test image under each and compare."""
        return self.same(lambda docker: docker.sh(script, *options, stdin=stdin))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) < 4000 else f"{text[:2000]} ... {text[-2000:]}"
