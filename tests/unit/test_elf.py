# SPDX-License-Identifier: Apache-2.0
"""What is read of an ELF, and what is cleared in it."""

import struct

from boxlite_runtime.guest import elf

PAGE = 4096
CODE, PADDING, ZEROS = b"\x90", b"\xcc", b"\0"


def image(pages: bytes, *, kind: int = 1, flags: int = 5, shift: int = 0) -> bytes:
    """Return an ELF of one segment, a page for each byte of ``pages``.

    The segment begins ``shift`` bytes into a page of memory.
    """
    header = bytearray(PAGE)
    header[:6] = b"\x7fELF\x02\x01"
    struct.pack_into("<Q", header, 32, 64)
    struct.pack_into("<HH", header, 54, 56, 1)
    size = len(pages) * PAGE
    address = 0xFFFFFFFF81000000 + shift
    struct.pack_into(
        "<IIQQQQQQ", header, 64, kind, flags, PAGE, address, 0, size, size, PAGE
    )
    return bytes(header) + b"".join(bytes([page]) * PAGE for page in pages)


def pages(image: bytes) -> bytes:
    """Return the first byte of each page behind the header, which all are alike."""
    found = [image[at : at + PAGE] for at in range(PAGE, len(image), PAGE)]
    assert all(page == page[:1] * PAGE for page in found)
    return b"".join(page[:1] for page in found)


def test_pages_of_padding_behind_padding_become_zeros() -> None:
    before = image(CODE + PADDING * 3 + CODE)

    assert pages(elf.padding_cleared(before)) == CODE + PADDING + ZEROS * 2 + CODE


def test_only_whole_pages_of_memory_are_cleared() -> None:
    before = image(CODE + PADDING * 3, shift=PAGE // 2)

    after = elf.padding_cleared(before)

    # Half a page of padding follows the code; two whole ones, and half of one.
    assert after[: 2 * PAGE + PAGE // 2] == before[: 2 * PAGE + PAGE // 2]
    assert after[2 * PAGE + PAGE // 2 : 4 * PAGE + PAGE // 2] == bytes(2 * PAGE)
    assert after[4 * PAGE + PAGE // 2 :] == PADDING * (PAGE // 2)


def test_what_is_not_code_stays() -> None:
    for before in (
        image(CODE + PADDING * 3, flags=6),
        image(CODE + PADDING * 3, kind=4),
        PADDING * 3 * PAGE,
        b"\x7fELF\x02\x01",
    ):
        assert elf.padding_cleared(before) == before
