# SPDX-License-Identifier: Apache-2.0
"""YAML that remembers its lines, so that a mistake can be pointed at.

Owns: reading, and the checks of type and key that name file and line. Does
not own: what the keys mean (``schema``).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml

from boxlite_runtime.errors import BoxliteError, ExitCode


@dataclass(frozen=True)
class Place:
    """A line of a file."""

    path: Path
    line: int

    def refuse(self, message: str) -> NoReturn:
        """Fail with ``message`` about this place."""
        raise BoxliteError(
            f"{self.path}:{self.line}: {message}", exit_code=ExitCode.USAGE
        )


class Table:
    """A mapping of a YAML file whose keys know their places.

    Each key is taken once by name; ``done`` refuses those nobody took.
    """

    def __init__(self, place: Place, entries: dict[str, tuple[Place, Any]]) -> None:
        self.place = place
        self._entries = entries
        self._taken: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def keys(self) -> list[str]:
        """Return all keys in their order."""
        return list(self._entries)

    def at(self, key: str) -> Place:
        """Return where a key stands, or the table where it does not."""
        return self._entries[key][0] if key in self._entries else self.place

    def take(self, key: str) -> Any:  # noqa: ANN401  (any YAML value)
        """Return a value, ``None`` where the key is absent."""
        self._taken.add(key)
        return self._entries[key][1] if key in self._entries else None

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text. Without a default the key must be there."""
        value = self.take(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or not value:
            self.at(key).refuse(f"{key} must be a text")
        return value

    def maybe_text(self, key: str) -> str | None:
        """Return a text, which may be empty, or ``None``."""
        value = self.take(key)
        if value is not None and not isinstance(value, str):
            self.at(key).refuse(f"{key} must be a text")
        return value

    def words(self, key: str) -> tuple[str, ...]:
        """Return a list of texts; an absent key is an empty one."""
        value = self.take(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(w, str) for w in value):
            self.at(key).refuse(f"{key} must be a list of texts (quote numbers)")
        return tuple(value)

    def flag(self, key: str) -> bool:
        """Return a truth value; an absent key is false."""
        value = self.take(key)
        if value is not None and not isinstance(value, bool):
            self.at(key).refuse(f"{key} must be true or false")
        return bool(value)

    def choice(self, key: str, allowed: Iterable[str], default: str) -> str:
        """Return one of the words that are allowed."""
        value = self.text(key, default)
        options = list(allowed)
        if value not in options:
            self.at(key).refuse(f"{key} must be one of: {', '.join(options)}")
        return value

    def table(self, key: str) -> "Table | None":
        """Return a table below this one, or ``None``."""
        value = self.take(key)
        if value is not None and not isinstance(value, Table):
            self.at(key).refuse(f"{key} must be a table")
        return value

    def texts(self, key: str) -> dict[str, str]:
        """Return a table whose values are all texts."""
        inner = self.table(key)
        if inner is None:
            return {}
        return {name: inner.maybe_text(name) or "" for name in inner.keys()}  # noqa: SIM118  (a Table is no dict)

    def tables(self, key: str) -> "list[Table]":
        """Return a list of tables; an absent key is an empty one."""
        value = self.take(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(i, Table) for i in value):
            self.at(key).refuse(f"{key} must be a list of tables")
        return value

    def done(self) -> None:
        """Refuse the first key that nobody took."""
        for key, (place, _) in self._entries.items():
            if key not in self._taken:
                place.refuse(f"{key} is no key here")


def read(path: Path) -> Table:
    """Read a YAML file whose top is a table."""
    try:
        node = yaml.compose(path.read_text(), Loader=yaml.SafeLoader)
    except OSError as error:
        raise BoxliteError(f"cannot read {path}: {error.strerror}") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        Place(path, line).refuse(f"it is not YAML: {error.problem}")
    if not isinstance(node, yaml.MappingNode):
        Place(path, 1).refuse("it must be a table")
    return _table(path, node)


def _table(path: Path, node: yaml.MappingNode) -> Table:
    entries: dict[str, tuple[Place, Any]] = {}
    for key, value in node.value:
        place = Place(path, key.start_mark.line + 1)
        if not isinstance(key, yaml.ScalarNode):
            place.refuse("a key must be a word")
        if key.value in entries:
            place.refuse(f"{key.value} stands there twice")
        entries[key.value] = (place, _value(path, value))
    return Table(Place(path, node.start_mark.line + 1), entries)


def _value(path: Path, node: yaml.Node) -> Any:  # noqa: ANN401  (any YAML value)
    if isinstance(node, yaml.MappingNode):
        return _table(path, node)
    if isinstance(node, yaml.SequenceNode):
        return [_value(path, item) for item in node.value]
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node, deep=True)
    finally:
        loader.dispose()
