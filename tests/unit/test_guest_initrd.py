# SPDX-License-Identifier: Apache-2.0
"""The initrd: its bytes depend on its content, and any cpio reads it."""

import json
import shutil
import subprocess
from pathlib import Path, PurePosixPath
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxlite_runtime.errors import BoxliteError
from boxlite_runtime.guest import cpio, initrd, manifest

#: The smallest thing that is an ELF without a loader.
STATIC = b"\x7fELF\x02\x01" + bytes(58)

NAMES = st.text("abcdefgh.-_", min_size=1, max_size=8).filter(
    lambda name: name not in {".", ".."}
)


@pytest.fixture
def declared(source: Path) -> initrd.Layout:
    return initrd.layout(source / "guest-kernel-config" / "rootfs.yaml")


@pytest.fixture
def agent(tmp_path: Path) -> Path:
    path = tmp_path / "agent"
    path.write_bytes(STATIC)
    return path


def fields(image: bytes) -> list[tuple[str, dict[str, int], bytes]]:
    """Return name, header and data of each entry, as the format defines them."""
    names = (
        "inode", "mode", "uid", "gid", "links", "mtime", "size", "dev_major",
        "dev_minor", "major", "minor", "name_size", "check",
    )  # fmt: skip
    entries: list[tuple[str, dict[str, int], bytes]] = []
    at = 0
    while True:
        assert image[at : at + 6] == b"070701"
        assert at % 4 == 0
        header = {
            name: int(image[at + 6 + 8 * i : at + 14 + 8 * i], 16)
            for i, name in enumerate(names)
        }
        end = at + 110 + header["name_size"]
        name = image[at + 110 : end - 1].decode()
        start = (end + 3) & ~3
        if name == "TRAILER!!!":
            return entries
        entries.append((name, header, image[start : start + header["size"]]))
        at = (start + header["size"] + 3) & ~3


def test_the_guest_starts_with_the_agent_a_console_and_places_to_mount(
    declared: initrd.Layout, agent: Path
) -> None:
    entries = {n: (h, d) for n, h, d in fields(initrd.pack(declared, agent).image)}

    header, data = entries["init"]
    assert (header["mode"], data) == (0o100755, STATIC)
    console = entries["dev/console"][0]
    assert console["mode"] == 0o020600
    assert (console["major"], console["minor"]) == (5, 1)
    assert {"dev", "proc", "sys", "run"} <= entries.keys()


def test_the_same_agent_gives_the_same_bytes(
    declared: initrd.Layout, agent: Path, tmp_path: Path
) -> None:
    other = tmp_path / "elsewhere"
    shutil.copyfile(agent, other)
    other.chmod(0o700)

    assert initrd.pack(declared, agent) == initrd.pack(declared, other)


@given(st.dictionaries(NAMES, st.binary(max_size=40), max_size=12), st.randoms())
def test_order_does_not_matter_and_nothing_is_lost(
    content: dict[str, bytes], random: Random
) -> None:
    entries = [cpio.regular(f"/{name}", 0o644, data) for name, data in content.items()]
    shuffled = list(entries)
    random.shuffle(shuffled)

    image = cpio.archive(shuffled)

    assert image == cpio.archive(entries)
    read = fields(image)
    assert {name: data for name, _, data in read} == content
    for position, (_, header, _) in enumerate(read, start=1):
        assert header["inode"] == position
        assert header["uid"] == header["gid"] == header["mtime"] == 0


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ([cpio.directory("relative", 0o755)], "not an absolute path"),
        ([cpio.directory("/a/../b", 0o755)], "not an absolute path"),
        ([cpio.directory("/a", 0o755), cpio.directory("/a", 0o755)], "twice"),
        ([cpio.directory("/", 0o755)], "twice"),
        ([cpio.regular("/a/b", 0o644, b"")], "not declared"),
    ],
)
def test_what_the_kernel_would_not_unpack_is_refused(
    entries: list[cpio.Entry], says: str
) -> None:
    with pytest.raises(BoxliteError, match=says):
        cpio.archive(entries)


def test_parents_come_before_what_lies_in_them() -> None:
    entries = [
        cpio.regular("/a-b", 0o644, b""),
        cpio.regular("/a/b", 0o644, b""),
        cpio.directory("/a", 0o755),
    ]

    names = [name for name, _, _ in fields(cpio.archive(entries))]

    assert names.index("a") < names.index("a/b")
    assert PurePosixPath("/a") < PurePosixPath("/a/b")


@pytest.mark.skipif(shutil.which("cpio") is None, reason="cpio is not installed")
def test_cpio_lists_it(declared: initrd.Layout, agent: Path) -> None:
    image = initrd.pack(declared, agent).image

    listed = subprocess.run(
        ["cpio", "--list", "--quiet"], input=image, capture_output=True, check=True
    )

    assert b"init" in listed.stdout.split()


@pytest.mark.parametrize(
    ("program", "says"),
    [(b"#!/bin/sh\n", "not a program"), (None, "not linked statically")],
)
def test_an_agent_that_could_not_start_is_refused(
    program: bytes | None, says: str, declared: initrd.Layout, tmp_path: Path
) -> None:
    agent = tmp_path / "agent"
    # The shell that runs the tests is linked dynamically on every distribution.
    agent.write_bytes(Path("/bin/sh").read_bytes() if program is None else program)

    with pytest.raises(BoxliteError, match=says):
        initrd.pack(declared, agent)


def test_a_missing_agent_is_named_with_the_way_to_make_it(
    declared: initrd.Layout, tmp_path: Path
) -> None:
    with pytest.raises(BoxliteError) as refused:
        initrd.pack(declared, tmp_path / "absent")

    assert "absent" in refused.value.message
    assert "cargo xtask agent" in (refused.value.hint or "")


def test_a_mode_that_yaml_would_read_as_a_number_is_refused(
    source: Path, tmp_path: Path
) -> None:
    text = (source / "guest-kernel-config" / "rootfs.yaml").read_text()
    wrong = tmp_path / "rootfs.yaml"
    wrong.write_text(text.replace('mode: "0755"', "mode: 0755", 1))

    with pytest.raises(BoxliteError, match="must be a string"):
        initrd.layout(wrong)


def test_the_manifest_joins_what_has_been_built(tmp_path: Path) -> None:
    manifest.publish(tmp_path, manifest.INITRD, b"initrd", {"sha256": "b"})
    assert digests(tmp_path) == {"initrd.img": "b"}

    manifest.publish(tmp_path, manifest.KERNEL, b"kernel", {"sha256": "a"})
    assert digests(tmp_path) == {"vmlinux": "a", "initrd.img": "b"}
    assert (tmp_path / "vmlinux").read_bytes() == b"kernel"
    assert list(tmp_path.glob(".*")) == []


def digests(directory: Path) -> object:
    return json.loads((directory / "manifest.json").read_text())["sha256"]
