# SPDX-License-Identifier: Apache-2.0
"""Waits for a condition with a deadline; nothing in these tests sleeps blindly.

Owns: how long anything may take here. Seconds in these tests are those of a host
that runs at its own speed; an emulated one is slower by a factor, which is read in
this one place (``allowed``).
"""

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: Seconds between two looks at a condition nobody announces.
PAUSE = 0.02
#: In the environment: how many times slower than others this host is.
SLOWNESS = "BOXLITE_TEST_SLOWNESS"


def allowed(seconds: float) -> float:
    """Return the seconds in which this host must do what others do in ``seconds``."""
    return seconds * float(os.environ.get(SLOWNESS, "1"))


def until(what: str, condition: Callable[[], T], seconds: float = 15.0) -> T:
    """Return the first true value of ``condition``; fail after ``seconds`` allowed.

    The message holds the last value, which tells how far things had come.
    """
    seconds = allowed(seconds)
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {seconds:g} s: {what} (last: {value!r})")
        time.sleep(PAUSE)
