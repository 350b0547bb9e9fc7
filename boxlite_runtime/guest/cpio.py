# SPDX-License-Identifier: Apache-2.0
"""Writes an initramfs archive whose bytes depend on its content alone.

Owns: the "newc" form of cpio, as the kernel's documentation gives it in
driver-api/early-userspace/buffer-format.rst. Does not own: what goes in.

Entries are sorted, numbered in that order, owned by root and dated 1970, so
the same content always gives the same bytes.
"""

import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from boxlite_runtime.errors import BoxliteError

_MAGIC = b"070701"
#: The kernel's reader and cpio both like whole blocks.
_BLOCK = 512
#: The largest file a header's eight hexadecimal digits can describe.
_LARGEST = 0xFFFFFFFF


@dataclass(frozen=True)
class Entry:
    """One file, directory or device node. ``mode`` holds type and permissions."""

    path: PurePosixPath
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


#: Ends an archive.
_TRAILER = Entry(PurePosixPath("TRAILER!!!"), 0)


def directory(path: str, permissions: int) -> Entry:
    """Return a directory."""
    return Entry(PurePosixPath(path), stat.S_IFDIR | permissions)


def character_device(path: str, permissions: int, major: int, minor: int) -> Entry:
    """Return the node of a character device."""
    mode = stat.S_IFCHR | permissions
    return Entry(PurePosixPath(path), mode, device=(major, minor))


def regular(path: str, permissions: int, data: bytes) -> Entry:
    """Return a file."""
    return Entry(PurePosixPath(path), stat.S_IFREG | permissions, data)


def archive(entries: Iterable[Entry]) -> bytes:
    """Return the archive of the entries, in whatever order they come.

    Raises ``BoxliteError`` for a path that is not absolute, appears twice or
    lies in a directory that is not an entry: the kernel makes no parents.
    """
    ordered = sorted(entries, key=lambda entry: entry.path.parts)
    _check(ordered)
    parts = [_record(entry, inode) for inode, entry in enumerate(ordered, start=1)]
    parts.append(_record(_TRAILER, 0))
    whole = b"".join(parts)
    return whole + bytes(-len(whole) % _BLOCK)


def _check(ordered: list[Entry]) -> None:
    directories = {PurePosixPath("/")}
    seen = set()
    for entry in ordered:
        if not entry.path.is_absolute() or ".." in entry.path.parts:
            raise BoxliteError(f"initrd: {entry.path} is not an absolute path")
        if entry.path in seen or entry.path == PurePosixPath("/"):
            raise BoxliteError(f"initrd: {entry.path} is named twice")
        if entry.path.parent not in directories:
            raise BoxliteError(
                f"initrd: {entry.path} lies in a directory that is not declared"
            )
        if len(entry.data) > _LARGEST:
            raise BoxliteError(f"initrd: {entry.path} is 4 GiB or more")
        seen.add(entry.path)
        if stat.S_ISDIR(entry.mode):
            directories.add(entry.path)


def _record(entry: Entry, inode: int) -> bytes:
    """Return header, name and data, each padded to four bytes."""
    name = str(entry.path).removeprefix("/").encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    # inode, mode, uid, gid, links, mtime, size, device of the filesystem,
    # device of the node, size of the name, checksum
    facts = (inode, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0)
    fields = (*facts, *entry.device, len(name), 0)
    header = _MAGIC + b"".join(b"%08X" % field for field in fields) + name
    padded = header + bytes(-len(header) % 4)
    return padded + entry.data + bytes(-len(entry.data) % 4)
