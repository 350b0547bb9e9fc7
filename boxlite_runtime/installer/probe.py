# SPDX-License-Identifier: Apache-2.0
"""Asks the shim with which accelerator machines run here, and why.

Owns: the command lines, and how an answer is shown. Does not own: the answer,
its words and ``accel.json``, which are the shim's: it alone knows what
containers run on, and asks by itself when the host has changed.

Call order: ``look`` for what is remembered, ``ask`` to boot a guest for it.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from boxlite_runtime.errors import BoxliteError, ExitCode
from boxlite_runtime.paths import Layout
from boxlite_runtime.process import run
from boxlite_runtime.shim import another_release, document, must_have_worked

#: Seconds. The shim gives a guest up to 60 under KVM, and 60 under TCG.
ASKING = 180.0
LOOKING = 30.0

#: A boot failed for a reason that is not the host's kind: another may not.
FAILED = "failed"


@dataclass(frozen=True)
class Answer:
    """With what machines run, and why, in the shim's words."""

    accel: str
    #: What kind of host it is; docs/reference/cli.md has the list.
    kind: str
    message: str
    #: What to do about it, where something can be done.
    hint: str | None
    #: What QEMU and the guest said, as they said it.
    detail: str | None
    #: Seconds since 1970.
    asked: int

    @property
    def says(self) -> str:
        """The answer in one line, the same wherever it is shown."""
        named = "kvm" if self.accel == "kvm" else "tcg, slow and no security boundary"
        return f"{named}: {self.message}"

    def about(self) -> dict[str, Any]:
        """Return the answer for a program to read."""
        return asdict(self)


@dataclass(frozen=True)
class Remembered:
    """What is remembered, and why it does not hold; not both are ``None``."""

    answer: Answer | None
    stale: str | None

    @property
    def to_be_asked(self) -> bool:
        """Whether an installation boots a guest to ask."""
        failed = self.answer is not None and self.answer.kind == FAILED
        return self.answer is None or self.stale is not None or failed


def look(layout: Layout) -> Remembered:
    """Return what is remembered. Boots nothing. Raises ``BoxliteError``."""
    done = run(_argv(layout, "--look"), check=False, timeout=LOOKING)
    must_have_worked(done)
    match document(done.stdout):
        case {"answer": dict(fields), "stale": str() | None as stale}:
            return Remembered(_answer(fields), stale)
        case {"answer": None, "stale": str(stale)}:
            return Remembered(None, stale)
    raise another_release("the probe")


def ask(layout: Layout) -> Answer:
    """Boot a guest, and return the answer, which is remembered from then on.

    Raises ``BoxliteError`` if a guest comes up with no accelerator.
    """
    done = run(_argv(layout), check=False, timeout=ASKING)
    must_have_worked(done)
    match document(done.stdout):
        case {"boots": False, "why": str(why)}:
            raise BoxliteError(
                f"the guest does not boot on this host: {why}",
                hint="Build it again: boxlite kernel build && boxlite rootfs build",
                exit_code=ExitCode.FAILURE,
            )
        case {"accel": str()} as fields:
            return _answer(fields)
    raise another_release("the probe")


def read(answer_file: Path) -> Answer | None:
    """Return what was found last, believed or not, for a page that tells it."""
    try:
        return _answer(json.loads(answer_file.read_text()))
    except (OSError, ValueError, TypeError, BoxliteError):
        return None


def _argv(layout: Layout, *words: str) -> list[str | Path]:
    argv: list[str | Path] = [layout.shim, "probe", *words, "--answer", layout.accel]
    # Without a file the shim has its own values.
    return [*argv, "--config", layout.config] if layout.config.exists() else argv


def _answer(fields: dict[str, Any]) -> Answer:
    match fields:
        case {
            "accel": "kvm" | "tcg" as accel,
            "kind": str(kind),
            "message": str(message),
            "hint": str() | None as hint,
            "detail": str() | None as detail,
            "asked": int(asked),
        }:
            return Answer(accel, kind, message, hint, detail, asked)
    raise another_release("the probe")
