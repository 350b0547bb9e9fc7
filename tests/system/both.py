# SPDX-License-Identifier: Apache-2.0
"""Does the same under the reference runtime and under BoxLite, and compares.

Owns: the order (reference first, so that a wrong test is told from a wrong
runtime) and the comparison. Does not own: the contract, which the test
asserts on the value handed back.

``Both`` starts containers; ``Inside`` is one running container under each
runtime, for the many questions that need no container of their own.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TypeVar

from tests.engines.command import Result, Word
from tests.engines.docker import IDLE, Docker

T = TypeVar("T")

#: Options that may differ between the two, a directory of one's own among them.
Options = Sequence[Word] | Callable[[Docker], Sequence[Word]]


@dataclass(frozen=True)
class Both:
    """One engine with two runtimes."""

    reference: Docker
    boxlite: Docker

    def same(self, scenario: Callable[[Docker], T]) -> T:
        """Run ``scenario`` under each runtime; fail unless the values are equal."""
        expected = scenario(self.reference)
        found = scenario(self.boxlite)
        assert_equal(self.boxlite.runtime, found, self.reference.runtime, expected)
        return found

    def run(self, *words: Word, stdin: bytes = b"") -> Result:
        """Run ``docker run --rm WORDS`` under each and compare code and bytes."""
        return self.same(lambda docker: docker.run("--rm", *words, stdin=stdin))

    def sh(self, script: str, *options: Word, stdin: bytes = b"") -> Result:
        """Run a shell script in the test image under each and compare."""
        return self.same(lambda docker: docker.sh(script, *options, stdin=stdin))

    @contextmanager
    def containers(
        self, options: Options = (), argv: tuple[Word, ...] = IDLE
    ) -> Iterator["Inside"]:
        """Run one container under each runtime for as long as the block lasts."""
        with ExitStack() as stack:
            running = [
                (
                    docker,
                    stack.enter_context(
                        docker.container(*words_for(docker, options), argv=argv)
                    ),
                )
                for docker in (self.reference, self.boxlite)
            ]
            yield Inside(*running)


@dataclass(frozen=True)
class Inside:
    """A running container under each runtime, as (engine, id)."""

    reference: tuple[Docker, str]
    boxlite: tuple[Docker, str]

    def same(self, scenario: Callable[[Docker, str], T]) -> T:
        """Do the same to each container; fail unless the values are equal."""
        expected = scenario(*self.reference)
        found = scenario(*self.boxlite)
        assert_equal(
            self.boxlite[0].runtime, found, self.reference[0].runtime, expected
        )
        return found

    def exec(
        self, *words: Word, options: Sequence[Word] = (), stdin: bytes = b""
    ) -> Result:
        """Run ``docker exec`` in each and compare code and bytes."""
        return self.same(
            lambda docker, container: docker.exec(
                *options, container, *words, stdin=stdin
            )
        )

    def sh(self, script: str, *options: Word, stdin: bytes = b"") -> Result:
        """Run a shell script in each and compare code and bytes."""
        return self.exec("sh", "-c", script, options=options, stdin=stdin)


def words_for(docker: Docker, options: Options) -> Sequence[Word]:
    """Return the options for one of the two runtimes."""
    return options(docker) if callable(options) else options


def assert_equal(name: str, found: object, reference: str, expected: object) -> None:
    """Fail with both values where they differ."""
    assert found == expected, (
        f"{name} differs from {reference}\n"
        f"{reference}: {_shown(expected)}\n"
        f"{name}: {_shown(found)}"
    )


def run_failure(result: Result) -> tuple[int, bytes]:
    """Return of a failed ``docker run`` what does not depend on the wording."""
    return result.code, result.stdout


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) < 4000 else f"{text[:2000]} ... {text[-2000:]}"
