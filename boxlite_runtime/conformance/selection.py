# SPDX-License-Identifier: Apache-2.0
"""Which cases ``-k`` means.

Owns: the expression: words that must stand in a case's name, area or file, joined by
``and``, ``or``, ``not`` and brackets. ``core`` means the cases marked so.
"""

import re
from collections.abc import Callable

from boxlite_runtime.conformance.case import Case
from boxlite_runtime.errors import BoxliteError, ExitCode

Test = Callable[[Case], bool]


def selected(expression: str, cases: list[Case]) -> list[Case]:
    """Return the cases an expression means, in their order."""
    if not expression.strip():
        return cases
    test = _Parser(expression).parse()
    return [case for case in cases if test(case)]


class _Parser:
    """Recursive descent over or < and < not < word."""

    def __init__(self, expression: str) -> None:
        self._expression = expression
        self._words = re.findall(r"\(|\)|[^\s()]+", expression)

    def parse(self) -> Test:
        test = self._either()
        if self._words:
            self._refuse(f"{self._words[0]!r} is not expected there")
        return test

    def _refuse(self, why: str) -> None:
        raise BoxliteError(
            f"-k {self._expression!r}: {why}",
            hint="For example: -k 'signals and not tty', -k core",
            exit_code=ExitCode.USAGE,
        )

    def _accept(self, word: str) -> bool:
        if self._words and self._words[0] == word:
            self._words.pop(0)
            return True
        return False

    def _either(self) -> Test:
        left = self._both()
        while self._accept("or"):
            left = _or(left, self._both())
        return left

    def _both(self) -> Test:
        left = self._one()
        while self._accept("and"):
            left = _and(left, self._one())
        return left

    def _one(self) -> Test:
        if self._accept("not"):
            inner = self._one()
            return lambda case: not inner(case)
        if self._accept("("):
            inner = self._either()
            if not self._accept(")"):
                self._refuse("a bracket is not closed")
            return inner
        if not self._words or self._words[0] in {"and", "or", ")"}:
            self._refuse("a word is missing")
        word = self._words.pop(0).lower()
        if word == "core":
            return lambda case: case.core
        return lambda case: word in f"{case.name} {case.area} {case.path.name}".lower()


def _or(left: Test, right: Test) -> Test:
    return lambda case: left(case) or right(case)


def _and(left: Test, right: Test) -> Test:
    return lambda case: left(case) and right(case)
