# SPDX-License-Identifier: Apache-2.0
"""Carries out a finished plan. Decides nothing.

Owns: the order "journal first, then the file". Does not own: reloading
daemons.
"""

from contextlib import suppress
from pathlib import Path

from boxlite_runtime.errors import BoxliteError, ExitCode
from boxlite_runtime.installer import files
from boxlite_runtime.installer.journal import Journal
from boxlite_runtime.installer.plan import Leave, Plan, Put, TakeBack


def apply(plan: Plan, journal: Journal) -> Journal:
    """Do what the plan says and return the journal as it then is."""
    try:
        journal.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for action in plan.actions:
            match action:
                case Put():
                    journal = _put(action, journal)
                case TakeBack():
                    journal = _take_back(action, journal)
                case Leave(entry):
                    journal = journal.forget(entry)
    except PermissionError as error:
        raise BoxliteError(
            f"not allowed to write {error.filename}",
            hint="Run it as root.",
            exit_code=ExitCode.HOST_UNFIT,
        ) from error
    return journal


def _put(action: Put, journal: Journal) -> Journal:
    path = action.path
    journal = journal.record(path, action.kind, action.sha256)
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    mode = path.stat().st_mode & 0o7777 if path.exists() else action.mode
    if action.source is not None:
        files.copy(action.source, path, action.mode)
    elif action.content is not None:
        files.write(path, action.content, mode)
    return journal


def _take_back(action: TakeBack, journal: Journal) -> Journal:
    entry = action.entry
    if action.content is not None:
        files.write(entry.path, action.content, entry.path.stat().st_mode & 0o7777)
    elif entry.original is not None:
        entry.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        mode = 0o644 if entry.mode is None else entry.mode
        files.copy(journal.originals / entry.original, entry.path, mode)
    else:
        entry.path.unlink(missing_ok=True)
        _remove_empty(entry.directories)
    return journal.forget(entry)


def _remove_empty(directories: tuple[Path, ...]) -> None:
    for directory in reversed(directories):
        # Somebody else's file in it is reason enough to leave it.
        with suppress(OSError):
            directory.rmdir()
