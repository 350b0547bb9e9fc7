# SPDX-License-Identifier: Apache-2.0
"""Waits for a condition with a deadline; nothing in these tests sleeps blindly."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: Seconds between two looks at a condition nobody announces.
PAUSE = 0.02


def until(what: str, condition: Callable[[], T], seconds: float = 15.0) -> T:
    """Return the first true value of ``condition``; fail after ``seconds``.

    The message holds the last value, which tells how far things had come.
    """
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {seconds:g} s: {what} (last: {value!r})")
        time.sleep(PAUSE)
