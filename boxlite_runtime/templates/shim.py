# SPDX-License-Identifier: Apache-2.0
"""Asks the shim about templates: the one place that knows its words.

Owns: the command lines, and what the answers mean. Does not own: what is
shown. The shim writes JSON, a document a line, and its errors on stderr.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boxlite_runtime.process import run, stream
from boxlite_runtime.shim import another_release, document, must_have_worked

#: Seconds. A boot under emulation on a busy host takes a minute at worst.
BUILD_TIMEOUT = 600.0
TIMEOUT = 120.0


@dataclass(frozen=True)
class Template:
    """One template, as the shim tells of it."""

    name: str
    vcpus: int
    memory_mib: int
    #: "fresh", "stale" (of another QEMU, kernel, processor, ...) or "damaged".
    state: str
    #: Why it is damaged.
    why: str | None = None
    #: Seconds since 1970; absent when it is damaged.
    created: int | None = None
    used: int | None = None
    #: Bytes a machine copies when it starts, and of QEMU's own state.
    memory_bytes: int | None = None
    state_bytes: int | None = None

    @property
    def size(self) -> str:
        """The machine's size as it is written on the command line."""
        return f"{self.vcpus}x{self.memory_mib}"


@dataclass(frozen=True)
class Shim:
    """The shim's program, and the configuration it is to use."""

    program: Path
    config: Path | None = None

    def build(
        self,
        size: str | None,
        *,
        force: bool = False,
        on_phase: Callable[[str], None] = lambda _: None,
    ) -> tuple[Template, bool]:
        """Build one template; return it and whether it was made now."""
        answer: dict[str, Any] = {}

        def hear(line: str) -> None:
            said = document(line)
            if "phase" in said:
                on_phase(said["phase"])
            answer.update(said)

        words = ["build", *(["--size", size] if size else [])]
        argv = self._argv([*words, *(["--force"] if force else [])])
        done = stream(argv, on_line=hear, check=False, timeout=BUILD_TIMEOUT)
        must_have_worked(done)
        return _template(answer.get("template")), not answer.get("already", False)

    def found(self) -> list[Template]:
        """Return every template there is, smallest first."""
        return self._ask(["list"])

    def check(self, names: Sequence[str], *, start: bool) -> list[Template]:
        """Examine templates whole; with ``start``, start a machine from each."""
        return self._ask(["check", *(["--start"] if start else []), *names])

    def remove(self, names: Sequence[str]) -> None:
        """Remove templates. Running machines keep what they have."""
        if names:
            done = run(self._argv(["rm", *names]), check=False, timeout=TIMEOUT)
            must_have_worked(done)

    def _ask(self, words: Sequence[str]) -> list[Template]:
        done = run(self._argv(words), check=False, timeout=BUILD_TIMEOUT)
        must_have_worked(done)
        return [_template(described) for described in json.loads(done.stdout)]

    def _argv(self, words: Sequence[str]) -> list[str | Path]:
        config: list[str | Path] = ["--config", self.config] if self.config else []
        return [self.program, "template", *words, *config]


def _template(described: object) -> Template:
    try:
        return Template(**described)  # type: ignore[arg-type]
    except TypeError as error:
        raise another_release("templates") from error
