# SPDX-License-Identifier: Apache-2.0
"""What an installation changed, kept so that all of it can be taken back.

Owns: ``install.json`` and the saved originals beside it. Does not own: the
changes themselves.

Call order: ``load`` -> ``record`` before each change -> ``forget`` after each
change taken back. An entry is written before its change is made, so a crash
in between leaves an entry too many, never one too few.
"""

import json
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from boxlite_runtime.errors import BoxliteError
from boxlite_runtime.installer import files

FORMAT = 1


class Kind(StrEnum):
    """What a changed file is, which decides how an edited one is treated."""

    BINARY = "binary"
    CONFIG = "config"
    DOCKER = "docker"
    CONTAINERD = "containerd"


@dataclass(frozen=True)
class Entry:
    """One changed file.

    ``original`` names the saved copy, ``None`` where there was no file;
    ``written`` is the digest of what the installation put there.
    """

    path: Path
    kind: Kind
    written: str
    original: str | None = None
    mode: int | None = None
    #: Directories made for the file, outermost first.
    directories: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Journal:
    """The entries in the order they were made. Immutable; stored by ``save``."""

    file: Path
    entries: tuple[Entry, ...] = ()

    @property
    def originals(self) -> Path:
        """The directory of saved copies."""
        return self.file.parent / "originals"

    def entry(self, path: Path) -> Entry | None:
        """Return the entry of a path."""
        return next((e for e in self.entries if e.path == path), None)

    def record(self, path: Path, kind: Kind, written: str) -> "Journal":
        """Return a journal that knows of a change, saved to disk.

        Only the first change of a path saves its original: what a second
        installation finds there is our own.
        """
        known = self.entry(path)
        if known is not None:
            changed = replace(known, written=written)
            return self._save(tuple(changed if e is known else e for e in self.entries))
        self.originals.mkdir(mode=0o700, parents=True, exist_ok=True)
        original, mode = None, None
        if path.exists():
            original = f"{len(self.entries)}-{files.digest(bytes(path))[:12]}"
            mode = path.stat().st_mode & 0o7777
            files.copy(path, self.originals / original, 0o600)
        missing = [p for p in reversed(path.parents) if not p.exists()]
        entry = Entry(path, kind, written, original, mode, tuple(missing))
        return self._save((*self.entries, entry))

    def forget(self, entry: Entry) -> "Journal":
        """Return a journal without an entry, saved to disk."""
        kept = self._save(tuple(e for e in self.entries if e != entry))
        if entry.original is not None:
            (self.originals / entry.original).unlink(missing_ok=True)
        return kept

    def _save(self, entries: tuple[Entry, ...]) -> "Journal":
        rows = [
            {
                **asdict(entry),
                "path": str(entry.path),
                "directories": [str(directory) for directory in entry.directories],
            }
            for entry in entries
        ]
        text = json.dumps({"format": FORMAT, "entries": rows}, indent=2) + "\n"
        files.write(self.file, text.encode(), 0o600)
        return replace(self, entries=entries)


def load(file: Path) -> Journal:
    """Read a journal; a missing one is empty."""
    if not file.exists():
        return Journal(file)
    try:
        document = json.loads(file.read_text())
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']}")
        entries = tuple(
            Entry(
                Path(row["path"]),
                Kind(row["kind"]),
                row["written"],
                row["original"],
                row["mode"],
                tuple(Path(directory) for directory in row["directories"]),
            )
            for row in document["entries"]
        )
    except (ValueError, KeyError, TypeError) as error:
        raise BoxliteError(
            f"cannot read the installation's journal {file}: {error}",
            hint="It lists what boxlite uninstall has to undo; restore it from a backup.",
        ) from error
    return Journal(file, entries)
