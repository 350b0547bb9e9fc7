# SPDX-License-Identifier: Apache-2.0
"""What the tree records of a resolved configuration, and whether it holds.

Owns: the form of a record, and the judgement of one. Does not own: resolving
(``kconfig``), nor where a record lies (``catalogue``).

A record names the point release it was made of. On that release the whole of
it must come out again. A distribution moves to the next one when it likes, and
there an option that nobody asks for may come, go or be renamed: that is told
and is no failure. Every requested option holds on all of them.

Call order: ``portable`` of what was resolved, ``read`` of what is recorded,
``compare`` for the two.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from boxlite_runtime.errors import BoxliteError
from boxlite_runtime.guest import kconfig
from boxlite_runtime.guest.fragments import Request

#: Options that describe the programs at hand, not the kernel.
_TOOLCHAIN = re.compile(
    r"CONFIG_((AS|BINDGEN|CC(?!_OPTIMIZE)|CLANG|GCC|LD|LLD|PAHOLE|RUSTC|TOOLS)_"
    r"|RUST_IS_AVAILABLE$)"
)

#: The first lines of a record.
_HEADER = """\
# SPDX-License-Identifier: Apache-2.0
# All options that are set; every other option is off.
# Made of Linux {release} by: boxlite kernel config --write
"""
_RELEASE = re.compile(r"^# Made of Linux (\S+) by: ", re.MULTILINE)

_HINT = "boxlite kernel config --write records it."


@dataclass(frozen=True)
class Record:
    """The options that a kernel of one point release comes to."""

    release: str
    options: Mapping[str, str]

    @property
    def series(self) -> str:
        """The first two numbers of the release."""
        return ".".join(self.release.split(".")[:2])


@dataclass(frozen=True)
class Difference:
    """An option that did not come out as it is recorded; ``n`` is off."""

    option: str
    recorded: str
    now: str

    def __str__(self) -> str:
        """Name the option and both values in one line."""
        return f"{self.option}: recorded {self.recorded}, now {self.now}"


@dataclass(frozen=True)
class Comparison:
    """What became of a record: lines that say why it fails, and what differs.

    ``differences`` are those of a record that holds on another point release.
    """

    failures: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()


def portable(release: str, config: str) -> Record:
    """Return what is recorded of a ``.config``: no option that names a compiler."""
    options = kconfig.parse(config)
    kept = {name: value for name, value in options.items() if not _is_host(name)}
    return Record(release, kept)


def render(record: Record) -> str:
    """Return the text of a record."""
    lines = (f"{option}={value}\n" for option, value in record.options.items())
    return _HEADER.format(release=record.release) + "".join(lines)


def read(path: Path) -> Record:
    """Read a record. Raises ``BoxliteError`` where there is none."""
    try:
        text = path.read_text()
    except OSError as error:
        raise BoxliteError(
            f"there is no record {path}: {error.strerror}", hint=_HINT
        ) from error
    named = _RELEASE.search(text)
    if named is None:
        raise BoxliteError(f"{path} names no point release", hint=_HINT)
    return Record(named[1], kconfig.parse(text))


def compare(recorded: Record, now: Record, requests: Iterable[Request]) -> Comparison:
    """Judge a record by what the requests come to now. Decides, touches nothing."""
    if recorded.series != now.series:
        return Comparison(
            (f"recorded of Linux {recorded.release}, which is no {now.series}",)
        )
    wanted = list(requests)
    asked = {request.option for request in wanted}
    failures = [str(entry) for entry in kconfig.unmet(wanted, now.options)]
    others = []
    for difference in _differences(recorded, now):
        # A record that lacks what is asked for is out of date on any release.
        if difference.option in asked or recorded.release == now.release:
            failures.append(str(difference))
        else:
            others.append(difference)
    return Comparison(tuple(failures), tuple(others))


def refuse_failures(name: str, comparison: Comparison) -> None:
    """Raise ``BoxliteError`` with a line for each failure, if any."""
    if comparison.failures:
        lines = "".join(f"\n  {failure}" for failure in comparison.failures)
        raise BoxliteError(f"{name} is not as recorded:{lines}", hint=_HINT)


def _differences(recorded: Record, now: Record) -> list[Difference]:
    before, after = recorded.options, now.options
    pairs = (
        Difference(option, before.get(option, "n"), after.get(option, "n"))
        for option in sorted(before.keys() | after.keys())
    )
    return [pair for pair in pairs if pair.recorded != pair.now]


def _is_host(option: str) -> bool:
    return _TOOLCHAIN.match(option) is not None
