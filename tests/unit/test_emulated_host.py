# SPDX-License-Identifier: Apache-2.0
"""What an emulated host is made of and handed over. No host is booted here."""

import lzma
import os
import platform
from pathlib import Path

import pytest

from tests.engines import command
from tests.engines.command import Word
from tests.engines.emulated import fit, host, initrd, kernel, modules, qemu
from tests.engines.programs import Unavailable

DEPENDENCIES = """\
kernel/fs/9p/9p.ko: kernel/net/9p/9pnet.ko kernel/fs/netfs/netfs.ko
kernel/net/9p/9pnet.ko:
kernel/net/9p/9pnet_virtio.ko.xz: kernel/net/9p/9pnet.ko kernel/drivers/virtio/virtio.ko
kernel/drivers/virtio/virtio.ko:
kernel/fs/netfs/netfs.ko:
kernel/fs/nls/nls-ascii.ko:
"""
BUILTIN = "kernel/drivers/virtio/virtio_pci.ko\n"


def test_a_module_is_loaded_after_what_it_needs_and_once() -> None:
    assert modules.order(["9pnet_virtio", "9p"], DEPENDENCIES, BUILTIN) == [
        "kernel/drivers/virtio/virtio.ko",
        "kernel/net/9p/9pnet.ko",
        "kernel/net/9p/9pnet_virtio.ko.xz",
        "kernel/fs/netfs/netfs.ko",
        "kernel/fs/9p/9p.ko",
    ]


def test_a_module_that_is_built_in_is_not_loaded() -> None:
    assert modules.order(["virtio_pci"], DEPENDENCIES, BUILTIN) == []


def test_a_module_is_known_by_either_spelling_and_by_no_other() -> None:
    assert modules.order(["nls_ascii"], DEPENDENCIES, BUILTIN)
    with pytest.raises(Unavailable, match="no module ext4"):
        modules.order(["ext4"], DEPENDENCIES, BUILTIN)


@pytest.mark.parametrize("suffix", ["ko", "ko.xz"])
def test_a_module_is_handed_over_as_the_kernel_takes_it(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"some.{suffix}"
    path.write_bytes(lzma.compress(b"code") if suffix == "ko.xz" else b"code")

    assert modules.content(path) == b"code"


def test_a_module_in_an_unknown_form_is_named(tmp_path: Path) -> None:
    path = tmp_path / "some.ko.zst"
    path.touch()

    with pytest.raises(Unavailable, match=r"some\.ko\.zst"):
        modules.content(path)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """Return the directory of the modules of a kernel that has few."""
    directory = tmp_path / "lib/modules/6.1.0"
    names = {
        "virtio_pci": "",
        "9pnet": "",
        "9pnet_virtio": "9pnet.ko",
        "9p": "9pnet.ko",
    }
    for name in (*names, "overlay"):
        (directory / f"{name}.ko").parent.mkdir(parents=True, exist_ok=True)
        (directory / f"{name}.ko").write_text(f"code of {name}")
    lines = [f"{name}.ko: {needs}" for name, needs in {**names, "overlay": ""}.items()]
    (directory / "modules.dep").write_text("\n".join(lines))
    (directory / "modules.builtin").touch()
    return directory


def test_the_initrd_holds_init_busybox_and_the_modules_in_order(
    release: Path, tmp_path: Path
) -> None:
    (tmp_path / "busybox").write_bytes(b"a program")

    image = initrd.pack(release, tmp_path / "busybox")

    assert image.startswith(b"070701")
    order = ["virtio_pci", "9pnet", "9pnet_virtio", "9p", "overlay"]
    assert "".join(f"/modules/{name}\n" for name in order).encode() in image
    for name in order:
        assert f"code of {name}".encode() in image
    assert b"a program" in image and b"#!/bin/busybox sh" in image


@pytest.mark.parametrize("top", ["", "usr"])
def test_a_kernel_package_is_arranged_as_its_host_would_have_it(
    tmp_path: Path, top: str
) -> None:
    package = tmp_path / "package"
    (package / "boot").mkdir(parents=True)
    (package / "boot/vmlinuz-6.1.0-9-amd64").write_text("image")
    (package / top / "lib/modules/6.1.0-9-amd64/kernel").mkdir(parents=True)

    kernel.arrange(package, tmp_path / "root")

    found = kernel.Kernel(tmp_path / "root")
    assert found.image.read_text() == "image"
    assert found.modules.name == "6.1.0-9-amd64"
    assert (found.modules / "kernel").is_dir()


def test_a_package_without_a_kernel_is_none(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()

    with pytest.raises(Unavailable, match="holds no kernel"):
        kernel.arrange(tmp_path / "package", tmp_path / "root")


def test_a_kernel_that_cannot_be_had_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOXLITE_CACHE", str(tmp_path))

    def offline(*argv: Word, **_: object) -> None:
        raise Unavailable("apt-get failed: no route to host")

    monkeypatch.setattr("tests.engines.debian.run", offline)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")

    with pytest.raises(Unavailable, match="no route to host"):
        kernel.find("bookworm")
    assert not kernel.directory("bookworm").exists()


def line(**changes: object) -> list[str]:
    """Return the command line of a host's QEMU."""
    given = {
        "image": Path("/k/vmlinuz"),
        "initrd": Path("/t/initrd"),
        "console": Path("/t/console,1"),
        "handed": Path("/t/handed"),
        "memory_mib": 4096,
    }
    return [os.fspath(word) for word in qemu.arguments(**{**given, **changes})]  # type: ignore[arg-type]


def test_a_host_sees_these_files_and_changes_none_of_them() -> None:
    words = line()

    shares = [words[i + 1] for i, word in enumerate(words) if word == "-fsdev"]
    assert [share for share in shares if "readonly=on" not in share] == [
        "local,id=handed,path=/t/handed,security_model=none,multidevs=remap"
    ]
    assert shares[0].startswith("local,id=files,path=/,")


def test_a_host_may_write_where_it_is_told_to() -> None:
    words = line(writable=[Path("/a"), Path("/b,c")])

    assert "virtio-9p-pci,fsdev=writable1,mount_tag=writable1" in words
    assert any("id=writable1,path=/b,,c," in word for word in words)


def test_a_host_has_svm_and_ends_where_its_kernel_panics() -> None:
    words = line()

    assert "svm=on,npt=on" in words[words.index("-cpu") + 1]
    assert "-no-reboot" in words
    append = words[words.index("-append") + 1].split()
    assert {"panic=-1", "oops=panic"} <= set(append)
    assert "file,id=console,path=/t/console,,1" in words


def job(**changes: object) -> host.Job:
    """Return a job of two words."""
    given = {
        "argv": ["echo", "two words"],
        "directory": Path("/srv/it's"),
        "seconds": 9,
    }
    return host.Job(**{**given, **changes})  # type: ignore[arg-type]


def test_a_job_is_a_script_that_ends_as_its_command_does(tmp_path: Path) -> None:
    script = 'echo "$A|$PWD|$1"; exit 7'
    text = host.job_text(
        job(
            argv=["sh", "-c", script, "sh", "two words"],
            directory=tmp_path,
            environment={"A": "it's $HOME"},
        )
    )

    done = command.run(["bash", "-c", text])

    assert (done.code, done.text) == (7, f"it's $HOME|{tmp_path}|two words")


def test_what_a_filesystem_of_the_hosts_own_would_hide_is_shown(tmp_path: Path) -> None:
    (tmp_path / "lib/modules/6.1.0").mkdir(parents=True)
    found = kernel.Kernel(tmp_path)

    text = host.settings_text(
        found, job(needs=[Path("/opt/venv"), Path("/tmp/it's")], writable=[Path("/w")])
    )

    shown = 'echo "$modules"; printf "<%s>" "${kept[@]}" + "${writable[@]}"'
    modules_path, _, paths = command.run(["bash", "-c", text + shown]).text.partition(
        "\n"
    )
    assert modules_path == f"{tmp_path}/lib/modules/6.1.0"
    kept = f"<{tmp_path}>" if host.covered(tmp_path) else ""
    assert paths == f"{kept}</tmp/it's><+></w>"


def test_a_job_is_told_where_programs_are_and_nothing_of_ci(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("BOXLITE_CACHE", "/cache")

    told = host.environment()

    assert told["PATH"] == os.environ["PATH"] and told["BOXLITE_CACHE"] == "/cache"
    assert "CI" not in told


LOOKS = ("_processor", "_rights", "_programs", "_busybox", "_svm")


@pytest.fixture
def fine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this host have all that does not depend on numbers."""
    for look in LOOKS:
        monkeypatch.setattr(fit, look, lambda: None)


@pytest.mark.usefixtures("fine")
def test_too_little_memory_is_named_with_what_there_is() -> None:
    said = fit.lacking("bookworm", 1 << 30)

    assert said is not None and f"it takes {1 << 30}" in said


@pytest.mark.usefixtures("fine")
def test_too_little_disk_matters_until_there_is_a_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOXLITE_CACHE", str(tmp_path))
    monkeypatch.setattr(fit, "KERNEL_MIB", 1 << 40)
    monkeypatch.setattr(fit, "_memory", lambda _: None)

    said = fit.lacking("bookworm", 1)
    assert said is not None and f"are free in {tmp_path}" in said
    kernel.directory("bookworm").mkdir(parents=True)
    assert fit.lacking("bookworm", 1) is None


def test_a_missing_program_is_named_with_its_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None if name == "depmod" else name)

    assert fit._programs() == "no depmod; apt-get install kmod"


def test_a_qemu_without_svm_is_refused_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "qemu-system-x86_64"
    program.write_text('#!/bin/sh\necho "TCG doesn\'t support svm" >&2; exit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    assert fit._svm() == (
        "this QEMU emulates no such processor: TCG doesn't support svm"
    )


def test_another_processor_than_the_one_emulated_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")

    said = fit.lacking("bookworm", 1)
    assert said is not None and "aarch64" in said
