# SPDX-License-Identifier: Apache-2.0
"""Can QEMU start an ELF, does it need a loader; and its padding made cheap.

Owns: reading program headers, and clearing whole pages of padding. Does not own:
anything else of ELF. Both answers would otherwise come only when a machine fails
to start.

Source of the format: elf(5); of the PVH note: Xen's public/elfnote.h
(XEN_ELFNOTE_PHYS32_ENTRY), which the Linux and QEMU sources follow.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_HEADER_SIZE = 64
_PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")
_NOTE = struct.Struct("<III")
_PT_LOAD = 1
_PT_INTERP = 3
_PT_NOTE = 4
_PHYS32_ENTRY = 18
_OWNER = b"Xen\0"
_EXECUTABLE = 1
_PAGE = 4096
#: What a linker fills code with where it aligns: INT3.
_PADDING = b"\xcc" * _PAGE


@dataclass(frozen=True)
class _Segment:
    kind: int
    flags: int
    offset: int
    address: int
    size: int


def pvh_entry(image: bytes) -> int | None:
    """Return the physical address of the PVH entry, or None if there is none."""
    for segment in _segments(image):
        if segment.kind == _PT_NOTE:
            notes = image[segment.offset : segment.offset + segment.size]
            entry = _find_entry(notes)
            if entry is not None:
                return entry
    return None


def padding_cleared(image: bytes) -> bytes:
    """Return the image with each page of code that is padding alone made zeros.

    A kernel is aligned to 2 MiB in several places. A page of zeros is not kept in a
    template and is not touched in a machine; one of INT3 is both. Nothing runs into
    such a page: the one before ends in padding that is left.
    """
    cleared = bytearray(image)
    for segment in _segments(image):
        if segment.kind != _PT_LOAD or not segment.flags & _EXECUTABLE:
            continue
        start = segment.offset + -segment.address % _PAGE
        end = segment.offset + segment.size
        for at in range(start, end - _PAGE + 1, _PAGE):
            if image[at : at + _PAGE] == _PADDING and image[at - 1] == _PADDING[0]:
                cleared[at : at + _PAGE] = bytes(_PAGE)
    return bytes(cleared)


def interpreter(image: bytes) -> str | None:
    """Return the loader a program asks for, or None for a static one."""
    for segment in _segments(image):
        if segment.kind == _PT_INTERP:
            name = image[segment.offset : segment.offset + segment.size]
            return name.rstrip(b"\0").decode()
    return None


def _segments(image: bytes) -> Iterator[_Segment]:
    """Yield the segments of a 64-bit little-endian ELF, none of anything else."""
    if len(image) < _HEADER_SIZE or image[:6] != b"\x7fELF\x02\x01":
        return
    (table,) = struct.unpack_from("<Q", image, 32)
    entry_size, count = struct.unpack_from("<HH", image, 54)
    for index in range(count):
        at = table + index * entry_size
        if at + _PROGRAM_HEADER.size > len(image):
            return
        kind, flags, offset, address, _, size, _, _ = _PROGRAM_HEADER.unpack_from(
            image, at
        )
        yield _Segment(kind, flags, offset, address, size)


def _find_entry(notes: bytes) -> int | None:
    position = 0
    while position + _NOTE.size <= len(notes):
        name_size, size, kind = _NOTE.unpack_from(notes, position)
        name_at = position + _NOTE.size
        value_at = name_at + _padded(name_size)
        name = notes[name_at : name_at + name_size]
        if kind == _PHYS32_ENTRY and name == _OWNER:
            return int.from_bytes(notes[value_at : value_at + size], "little")
        position = value_at + _padded(size)
    return None


def _padded(size: int) -> int:
    return (size + 3) & ~3
