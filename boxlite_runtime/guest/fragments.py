# SPDX-License-Identifier: Apache-2.0
"""The lines of configuration fragments: what is asked of a kernel, and why.

Owns: reading fragments and joining them. Does not own: what the kernel makes
of a request (``kconfig``).

A line is ``CONFIG_NAME=value  # reason``. ``value`` is ``y``, ``n``, a number
or a quoted string; ``m`` is refused, for nothing can be loaded later. A line
without a reason is refused too.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from boxlite_runtime.errors import BoxliteError

_LINE = re.compile(
    r"""(?P<option>CONFIG_[A-Za-z0-9_]+)
        =(?P<value>y|n|-?[0-9]+|0x[0-9a-fA-F]+|"[^"]*")
        [ ]{2}\#[ ](?P<reason>\S.*)""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Request:
    """One option that a fragment asks for."""

    option: str
    value: str
    reason: str
    path: Path
    line: int

    @property
    def place(self) -> str:
        """Where it is asked for, as an editor opens it."""
        return f"{self.path}:{self.line}"


def read(path: Path) -> list[Request]:
    """Read one fragment. Raises ``BoxliteError`` naming file and line."""
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise BoxliteError(
            f"cannot read the fragment {path}: {error.strerror}"
        ) from error
    requests = []
    for number, line in enumerate(lines, start=1):
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise BoxliteError(
                f"{path}:{number}: not a request: {line}",
                hint="A request reads CONFIG_NAME=value, two blanks, # and its reason.",
            )
        requests.append(
            Request(match["option"], match["value"], match["reason"], path, number)
        )
    return requests


def merge(paths: Iterable[Path]) -> list[Request]:
    """Join fragments in order. An option that is asked for twice is refused."""
    merged: dict[str, Request] = {}
    for path in paths:
        for request in read(path):
            first = merged.setdefault(request.option, request)
            if first is not request:
                raise BoxliteError(
                    f"{request.option} is asked for twice: "
                    f"{first.value} at {first.place}, "
                    f"{request.value} at {request.place}",
                )
    return list(merged.values())


def render(requests: Iterable[Request]) -> str:
    """Return the requests in the form the kernel's build reads."""
    return "".join(f"{request.option}={request.value}\n" for request in requests)
