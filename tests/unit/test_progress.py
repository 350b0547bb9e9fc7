# SPDX-License-Identifier: Apache-2.0
"""What a person and a log see of a long step."""

import io
import threading

import pytest

from boxlite_runtime import progress


class Output(io.StringIO):
    """An output that may say it is a terminal, and tells of each write."""

    def __init__(self, tty: bool) -> None:
        super().__init__()
        self.tty = tty
        self.beat = threading.Event()

    def isatty(self) -> bool:
        return self.tty

    def write(self, text: str) -> int:
        if "..." in text:
            self.beat.set()
        return super().write(text)


def test_a_log_gets_a_start_a_heartbeat_and_an_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "HEARTBEAT", 0.01)
    out = Output(tty=False)

    with progress.step("Building", out=out) as current:
        current.note("7 files")
        out.beat.clear()
        assert out.beat.wait(30)

    first, *beats, last = out.getvalue().splitlines()
    assert first == "==> Building"
    assert any(beat.startswith("... Building (7 files)") for beat in beats)
    assert last.startswith("done: Building (")


def test_a_terminal_gets_one_line_that_is_redrawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "REDRAW", 0.01)
    out = Output(tty=True)

    with progress.step("Building", out=out):
        assert out.beat.wait(30)

    assert out.getvalue().count("\n") == 1
    assert "\r\x1b[K... Building 0 s" in out.getvalue()


def test_a_failed_step_is_marked_and_its_error_passes() -> None:
    out = Output(tty=False)

    with pytest.raises(ValueError, match="broken"), progress.step("Building", out=out):
        raise ValueError("broken")

    assert "failed: Building" in out.getvalue()
