# SPDX-License-Identifier: Apache-2.0
"""Building a kernel: the cache, its lock, and what a failure leaves.

The kernel here is a tree of two files whose "build" copies a prepared ELF;
make, gcc, ld and objcopy are the real ones.
"""

import fcntl
import hashlib
import shutil
import struct
import tarfile
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from boxlite_runtime.errors import BoxliteError
from boxlite_runtime.guest import catalogue, elf, kconfig, kernel, source
from boxlite_runtime.guest.catalogue import Catalogue, Source

pytestmark = pytest.mark.skipif(
    any(shutil.which(name) is None for name in ("make", "gcc", "flex", "bison")),
    reason="a kernel is configured with make, gcc, flex and bison",
)

#: The answer to any configuration is what was asked, without CONFIG_LOST.
MAKEFILE = """\
allnoconfig:
	sed /CONFIG_LOST/d $(KCONFIG_ALLCONFIG) > $(O)/.config
olddefconfig:
	true
vmlinux:
	echo "  CC      one.o"
	gcc -c $(CURDIR)/note.s -o $(O)/note.o
	ld -e 0 $(O)/note.o -o $(O)/vmlinux
	echo built >> $(CURDIR)/../../../log
kernelrelease:
	@echo 9.9-test
"""
#: The note by which QEMU finds a PVH kernel's entry.
NOTE = """\
.section .note.Xen, "a", @note
.long 4, 4, 18
.asciz "Xen"
.long 0x1000123
.text
.global start
start: ret
"""


def archive(base: Path, note: str = NOTE, makefile: str = MAKEFILE) -> Path:
    """Return the archive of a kernel's source."""
    tree = base / "linux"
    tree.mkdir()
    (tree / "Kconfig").touch()
    (tree / "Makefile").write_text(makefile)
    (tree / "note.s").write_text(note)
    packed = base / "linux.tar"
    with tarfile.open(packed, "w") as tar:
        tar.add(tree, "linux")
    return packed


def declare(base: Path, packed: Path, request: str = "CONFIG_A=y") -> Catalogue:
    """Return a catalogue with one kernel, made of one request."""
    root = base / "guest"
    (root / "fragments").mkdir(parents=True, exist_ok=True)
    (root / "fragments" / "one.config").write_text(f"{request}  # because\n")
    return Catalogue(
        root=root,
        default_version="9",
        default_profile="base",
        versions={"9": Source(package="linux", archive=packed)},
        architectures={"x86_64": catalogue.Architecture("x86_64", "vmlinux")},
        profiles={"base": catalogue.Profile("base", "", ("one",))},
    )


def builds(cache: Path) -> int:
    """Return how often the kernel was really built."""
    log = cache / "log"
    return len(log.read_text().splitlines()) if log.exists() else 0


def left_over(cache: Path) -> list[Path]:
    return list((cache / "kernel").glob(".*"))


def test_the_same_inputs_are_built_once(tmp_path: Path) -> None:
    declared = declare(tmp_path, archive(tmp_path))

    first = kernel.build(declared, declared.select(), tmp_path)
    second = kernel.build(declared, declared.select(), tmp_path)

    assert (first.fresh, second.fresh) == (True, False)
    assert first.image == second.image
    assert builds(tmp_path) == 1
    assert elf.pvh_entry(first.image.read_bytes()) == 0x1000123
    assert '"release": "9.9-test"' in first.manifest.read_text()
    assert kconfig.parse(first.config.read_text()) == {"CONFIG_A": "y"}
    assert left_over(tmp_path) == []


def test_another_request_gives_another_kernel(tmp_path: Path) -> None:
    packed = archive(tmp_path)
    before = declare(tmp_path, packed)
    first = kernel.build(before, before.select(), tmp_path)

    after = declare(tmp_path, packed, "CONFIG_A=n")
    second = kernel.build(after, after.select(), tmp_path)

    assert first.image != second.image
    assert first.image.exists()


def test_a_request_that_does_not_survive_stops_the_build(tmp_path: Path) -> None:
    declared = declare(tmp_path, archive(tmp_path), "CONFIG_LOST=y")

    with pytest.raises(BoxliteError, match="CONFIG_LOST: asked for y, got n"):
        kernel.build(declared, declared.select(), tmp_path)

    assert builds(tmp_path) == 0


def test_a_kernel_that_qemu_cannot_start_is_not_kept(tmp_path: Path) -> None:
    declared = declare(tmp_path, archive(tmp_path, note=".text\nret\n"))

    for _ in range(2):
        with pytest.raises(BoxliteError, match="PVH"):
            kernel.build(declared, declared.select(), tmp_path)

    assert builds(tmp_path) == 2
    assert left_over(tmp_path) == []


def test_an_interrupted_build_leaves_nothing_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = declare(tmp_path, archive(tmp_path))

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(kernel, "stream", interrupted)
        with pytest.raises(KeyboardInterrupt):
            kernel.build(declared, declared.select(), tmp_path)

    assert left_over(tmp_path) == []
    assert kernel.build(declared, declared.select(), tmp_path).fresh


def test_the_remains_of_a_killed_build_are_swept(tmp_path: Path) -> None:
    remains = tmp_path / "kernel" / ".build-killed"
    remains.mkdir(parents=True)
    (remains / "object").touch()
    declared = declare(tmp_path, archive(tmp_path))

    kernel.build(declared, declared.select(), tmp_path)

    assert not remains.exists()


def test_two_builds_at_once_make_one_kernel(tmp_path: Path) -> None:
    declared = declare(tmp_path, archive(tmp_path))
    (tmp_path / "kernel").mkdir()
    results: list[kernel.BuiltKernel] = []

    def build() -> None:
        results.append(kernel.build(declared, declared.select(), tmp_path))

    with (tmp_path / "kernel" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        threads = [threading.Thread(target=build) for _ in range(2)]
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join()

    assert sorted(result.fresh for result in results) == [False, True]
    assert builds(tmp_path) == 1


def test_patches_are_applied_and_are_an_input(tmp_path: Path) -> None:
    packed = archive(tmp_path)
    patch = tmp_path / "release.patch"
    patch.write_text(
        "--- a/Makefile\n+++ b/Makefile\n@@ -10,2 +10,2 @@\n"
        " kernelrelease:\n-\t@echo 9.9-test\n+\t@echo 9.9-patched\n"
    )
    plain = declare(tmp_path, packed)
    architecture = catalogue.Architecture("x86_64", "vmlinux", (patch,))
    patched = replace(plain, architectures={"x86_64": architecture})

    before = kernel.build(plain, plain.select(), tmp_path)
    after = kernel.build(patched, patched.select(), tmp_path)

    assert '"release": "9.9-test"' in before.manifest.read_text()
    assert '"release": "9.9-patched"' in after.manifest.read_text()


def test_a_patch_that_does_not_apply_stops_the_build(tmp_path: Path) -> None:
    patch = tmp_path / "wrong.patch"
    patch.write_text("--- a/Makefile\n+++ b/Makefile\n@@ -1 +1 @@\n-absent\n+new\n")
    architecture = catalogue.Architecture("x86_64", "vmlinux", (patch,))
    declared = replace(
        declare(tmp_path, archive(tmp_path)), architectures={"x86_64": architecture}
    )

    with pytest.raises(BoxliteError, match="patch ended with 1"):
        kernel.build(declared, declared.select(), tmp_path)

    assert list((tmp_path / "kernel" / "source").iterdir()) == []


@pytest.mark.parametrize(("extra", "suffix"), [("", ""), ("-rc1", "-rc1")])
def test_the_point_release_of_a_tree_is_that_of_its_makefile(
    extra: str, suffix: str, tmp_path: Path
) -> None:
    (tmp_path / "Makefile").write_text(
        "# SPDX-License-Identifier: GPL-2.0\nVERSION = 6\nPATCHLEVEL = 12\n"
        f"SUBLEVEL = 117\nEXTRAVERSION ={' ' + extra if extra else ''}\nNAME = Posse\n"
    )

    assert source.release(tmp_path) == f"6.12.117{suffix}"


def test_a_makefile_that_is_no_kernels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("VERSION = 6\nPATCHLEVEL = 12\n")

    with pytest.raises(BoxliteError, match="names no kernel version"):
        source.release(tmp_path)


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    declared = declare(tmp_path, tmp_path / "absent.tar")

    with pytest.raises(BoxliteError) as refused:
        kernel.build(declared, declared.select(), tmp_path)

    assert refused.value.hint == "apt-get install linux"


def test_a_fetched_source_must_have_the_declared_digest(tmp_path: Path) -> None:
    packed = archive(tmp_path)
    good = hashlib.sha256(packed.read_bytes()).hexdigest()

    kept, digest = source.locate(Source(url=packed.as_uri(), sha256=good), tmp_path)
    assert (kept.read_bytes(), digest) == (packed.read_bytes(), good)
    packed.unlink()
    assert source.locate(Source(url=packed.as_uri(), sha256=good), tmp_path)[0] == kept

    other = archive_of_other_content(tmp_path)
    with pytest.raises(BoxliteError, match="has sha256"):
        source.locate(Source(url=other.as_uri(), sha256="0" * 64), tmp_path)
    assert [path.name for path in (tmp_path / "download").iterdir()] == [kept.name]


def archive_of_other_content(base: Path) -> Path:
    path = base / "other.tar"
    path.write_bytes(b"other")
    return path


def test_only_https_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(BoxliteError, match="only https"):
        source.locate(Source(url="http://host/linux.tar", sha256="0"), tmp_path)


def test_an_elf_without_the_note_has_no_entry() -> None:
    assert elf.pvh_entry(b"") is None
    assert elf.pvh_entry(b"\x7fELF\x02\x01" + bytes(58)) is None
    truncated = b"\x7fELF\x02\x01" + bytes(26) + struct.pack("<Q", 64) + bytes(14)
    assert elf.pvh_entry(truncated + struct.pack("<HH", 56, 9) + bytes(6)) is None
