# SPDX-License-Identifier: Apache-2.0
"""A host that is slower has more time, wherever a test waits."""

import pytest

from tests.engines import command
from tests.engines.waiting import SLOWNESS, allowed, until


def test_seconds_are_seconds_on_a_host_of_full_speed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(SLOWNESS, raising=False)

    assert allowed(3) == 3


def test_a_slower_host_has_as_many_times_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SLOWNESS, "6")

    assert allowed(3) == 18


def test_waits_and_programs_have_the_time_of_their_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(SLOWNESS, "0.01")

    with pytest.raises(AssertionError, match=r"not within 0\.05 s"):
        until("never", lambda: False, 5)
    with pytest.raises(command.TookTooLong, match=r"not finished after 0\.05 s"):
        command.run(["sleep", "100"], timeout=5)
