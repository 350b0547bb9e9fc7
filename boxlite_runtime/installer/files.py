# SPDX-License-Identifier: Apache-2.0
"""Files written so that a reader never sees half of one.

Owns: digests and atomic replacement. Does not own: which files.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def digest(content: bytes) -> str:
    """Return the SHA-256 of ``content`` in hex."""
    return hashlib.sha256(content).hexdigest()


def file_digest(path: Path) -> str | None:
    """Return the SHA-256 of a file in hex, ``None`` if there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def write(path: Path, content: bytes, mode: int) -> None:
    """Put ``content`` at ``path`` in one step, keeping an old file's owner."""
    _replace(path, mode, lambda file: file.write(content))


def copy(source: Path, path: Path, mode: int) -> None:
    """Put the content of ``source`` at ``path`` in one step.

    A program running from the old file keeps it.
    """
    with source.open("rb") as reader:
        _replace(path, mode, lambda file: shutil.copyfileobj(reader, file))


def _replace(path: Path, mode: int, fill: Callable[[BinaryIO], object]) -> None:
    # A link is kept: some hosts keep their configuration elsewhere.
    path = path.resolve()
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            fill(file)
            file.flush()
            os.fchmod(file.fileno(), mode)
            if path.exists():
                old = path.stat()
                os.fchown(file.fileno(), old.st_uid, old.st_gid)
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
