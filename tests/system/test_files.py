# SPDX-License-Identifier: Apache-2.0
"""Binds, volumes, tmpfs and the root filesystem are the engine's own, live."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines import images
from tests.engines.command import Word
from tests.engines.docker import Docker
from tests.engines.images import TESTER, TESTER_UID
from tests.engines.waiting import allowed, until
from tests.system.both import Both, Inside


class Shared:
    """A directory of the host for each runtime, so that neither sees the other's."""

    def __init__(self, top: Path) -> None:
        self._top = top

    def of(self, docker: Docker) -> Path:
        """Return the directory of one runtime."""
        directory = self._top / str(id(docker))
        if not directory.exists():
            for name in ("rw", "ro", "single"):
                (directory / name).mkdir(parents=True)
            (directory / "rw").chmod(0o777)
            (directory / "ro/file").write_text("read only\n")
            for name in ("one", "two", "sibling"):
                (directory / "single" / name).write_text(f"{name}\n")
            # A device file has no place in an image; a name with a comma and
            # a space has one on a command line.
            (directory / "with, comma").mkdir()
            (directory / "with, comma/file").write_text("odd\n")
        return directory

    def options(self, docker: Docker) -> list[Word]:
        """Return the mounts of the container that this module asks."""
        here = self.of(docker)
        return [
            "--volume", f"{here}/rw:/rw",
            "--volume", f"{here}/ro:/ro:ro",
            "--volume", f"{here}/single/one:/mnt/one",
            "--volume", f"{here}/single/two:/mnt/two:ro",
            "--mount", f'type=bind,"source={here}/with, comma",target=/odd',
            "--volume", f"named-{docker.runtime}-{id(docker)}:/named",
            "--volume", "/srv/volume",
            "--tmpfs", "/scratch:size=1m,mode=1770,noexec",
            "--shm-size", "8m",
        ]  # fmt: skip


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    """Directories of the host."""
    return Shared(tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module")
def inside(both: Both, shared: Shared) -> Iterator[Inside]:
    """A container with every kind of mount under each runtime."""
    with both.containers(shared.options) as running:
        yield running
    for docker in (both.reference, both.boxlite):
        docker("volume", "rm", f"named-{docker.runtime}-{id(docker)}")


@pytest.mark.core
@pytest.mark.kvm
def test_a_bind_is_the_same_files_both_ways(inside: Inside, shared: Shared) -> None:
    # What the host changes in a file that the guest knows may be seen a second later:
    # docs/explanation/limits.md, "Files".
    def scenario(docker: Docker, container: str) -> list[str]:
        there = shared.of(docker) / "rw"
        (there / "from-host").write_text("host\n")
        script = (
            "cat /rw/from-host; echo guest >/rw/from-guest; mkdir /rw/d; ln -s x /rw/l;"
            "ln /rw/from-guest /rw/hard; mkfifo /rw/p; chmod 640 /rw/from-guest"
        )
        seen = docker.exec(container, "sh", "-c", script).ok().text
        docker.exec("--user", TESTER, container, "touch", "/rw/owned").ok()
        assert (there / "owned").stat().st_uid == TESTER_UID
        assert (there / "l").readlink() == Path("x")
        assert (there / "p").is_fifo() and (there / "d").is_dir()
        assert (there / "hard").stat().st_ino == (there / "from-guest").stat().st_ino
        assert (there / "from-guest").stat().st_mode & 0o777 == 0o640
        (there / "from-host").write_text("changed\n")
        (there / "l").unlink()
        script = "sleep 1.1; cat /rw/from-host; ls /rw"
        again = docker.exec(container, "sh", "-c", script).ok()
        return [seen, (there / "from-guest").read_text(), *again.lines]

    assert inside.same(scenario)[:3] == ["host", "guest\n", "changed"]


def test_a_file_that_grows_is_read_whole_a_second_later(
    inside: Inside, shared: Shared
) -> None:
    # Its size is known before the change, its content is not. A guest may go by what
    # it knows for a second: docs/explanation/limits.md, "Files".
    script = (
        "stat /rw/live >/dev/null; touch /rw/known; until [ -e /rw/grown ]; do"
        " stat /rw/live >/dev/null; done; sleep 1.1; cat /rw/live"
    )

    def scenario(docker: Docker, container: str) -> str:
        there = shared.of(docker) / "rw"
        (there / "live").write_text("old\n")
        with docker.background("exec", container, "sh", "-c", script) as reading:
            until("it knows the file", (there / "known").exists)
            (there / "live").write_text("new and longer\n")
            (there / "grown").touch()
            out, _ = reading.communicate(timeout=allowed(15))
            return out.decode()

    assert inside.same(scenario) == "new and longer\n"


def test_a_large_file_is_the_same_through_a_bind(
    inside: Inside, shared: Shared
) -> None:
    def scenario(docker: Docker, container: str) -> bool:
        there = shared.of(docker) / "rw"
        (there / "in").write_bytes(images.noise())
        docker.exec(container, "cp", "/rw/in", "/rw/out").ok()
        return (there / "out").read_bytes() == images.noise()

    assert inside.same(scenario)


def test_files_behave_as_files(inside: Inside) -> None:
    script = """cd /rw; exec 3>held; rm held; echo gone >&3; ls held 2>&1
        echo a >r1; echo b >r2; mv r1 r2; cat r2
        echo 12345678 >t; truncate -s 3 t; cat t; echo; echo more >>t; cat t
        touch -d '2020-02-03 04:05:06' t; stat -c '%Y %s %a %u:%g %F' t; rmdir /rw/no 2>&1
        chown 1000:1000 t; chmod 4755 t; stat -c '%a %u:%g' t
        mkdir -p deep/er; mv deep moved; find moved; rm -r moved; df -P . >/dev/null"""
    lines = inside.sh(script).ok().lines
    assert lines[:4] == ["ls: held: No such file or directory", "a", "123", "123more"]


@pytest.mark.core
def test_a_read_only_bind_is_read_and_not_written(
    inside: Inside, shared: Shared
) -> None:
    script = (
        "cat /ro/file; echo x >/ro/file; touch /ro/new; rm /ro/file;"
        "mount -o remount,rw /ro; chmod 777 /ro/file; true"
    )
    result = inside.sh(script).ok()
    assert result.text == "read only" and b"Read-only file system" in result.stderr
    for docker in (inside.reference[0], inside.boxlite[0]):
        assert [f.name for f in (shared.of(docker) / "ro").iterdir()] == ["file"]


def test_a_single_file_is_shared_without_its_siblings(
    inside: Inside, shared: Shared
) -> None:
    script = (
        "ls /mnt; cat /mnt/one /mnt/two; echo changed >/mnt/one;"
        "echo x >/mnt/two; ls /mnt/.. | grep sibling; find / -xdev -name sibling"
    )
    result = inside.sh(script).ok()
    assert result.lines == ["one", "two", "one", "two"]
    for docker in (inside.reference[0], inside.boxlite[0]):
        single = shared.of(docker) / "single"
        assert (single / "one").read_text() == "changed\n"
        assert (single / "two").read_text() == "two\n"


def test_a_path_with_comma_and_space_is_bound(inside: Inside) -> None:
    assert inside.sh("cat /odd/file").ok().text == "odd"


@pytest.mark.storage
@pytest.mark.core
@pytest.mark.kvm
def test_a_named_volume_outlives_its_container(both: Both, inside: Inside) -> None:
    inside.sh("echo kept >/named/file").ok()

    def scenario(docker: Docker) -> str:
        volume = f"named-{docker.runtime}-{id(docker)}:/elsewhere:ro"
        return docker.sh("cat /elsewhere/file", "--volume", volume).ok().text

    assert both.same(scenario) == "kept"


@pytest.mark.storage
@pytest.mark.core
def test_an_anonymous_volume_starts_as_the_image_has_it(inside: Inside) -> None:
    result = inside.sh(
        "cat /srv/volume/seed; echo more >/srv/volume/more; ls /srv/volume"
    )
    assert result.ok().lines == ["from the image", "more", "seed"]


@pytest.mark.core
def test_tmpfs_and_shm_have_the_size_and_mode_asked_for(inside: Inside) -> None:
    script = (
        "stat -c %a /scratch; df -P -k /scratch /dev/shm | awk 'NR>1 {print $2, $6}';"
        "stat -c %a /dev/shm; dd if=/dev/zero of=/scratch/fill bs=1k count=2000 2>&1 |"
        "head -1; cp /bin/busybox /scratch/ 2>/dev/null; echo data >/dev/shm/x;"
        "cat /dev/shm/x; rm -f /scratch/*; echo '#!/bin/sh' >/scratch/s;"
        "chmod 755 /scratch/s; /scratch/s 2>&1"
    )
    result = inside.sh(script)
    assert result.lines[:4] == ["1770", "1024 /scratch", "8192 /dev/shm", "1777"]
    assert "Permission denied" in result.lines[-1]


@pytest.mark.storage
@pytest.mark.core
def test_the_engine_copies_into_and_out_of_a_running_container(
    inside: Inside, tmp_path: Path
) -> None:
    def scenario(docker: Docker, container: str) -> object:
        source, copy = tmp_path / "source", tmp_path / "copy"
        source.write_text("carried\n")
        docker("cp", source, f"{container}:/root/in").ok()
        inner = docker.exec(container, "sh", "-c", "cat /root/in; echo made >/root/out")
        docker("cp", f"{container}:/root/out", copy).ok()
        changed = docker("diff", container).ok().lines
        return (
            inner.ok().text,
            copy.read_text(),
            sorted(line for line in changed if "/root" in line),
        )

    assert inside.same(scenario) == (
        "carried",
        "made\n",
        ["A /root/in", "A /root/out", "C /root"],
    )


@pytest.mark.storage
@pytest.mark.parametrize("place", ["/", "/rw", "/named", "/srv/volume"])
def test_a_file_has_attributes(inside: Inside, place: str) -> None:
    script = f"cd {place} && echo x >attr && probe xattr attr && cat attr"
    assert inside.sh(script).ok().text == "valuex"


def test_a_group_one_is_in_besides_may_make_files(both: Both, tmp_path: Path) -> None:
    def scenario(docker: Docker) -> str:
        directory = tmp_path / docker.runtime
        directory.mkdir()
        os.chown(directory, 0, 4321)
        directory.chmod(0o770)
        return docker.sh(
            "touch /d/file && mkdir /d/made && ln -s x /d/link && stat -c '%u %g' /d/*",
            "--volume", f"{directory}:/d", "--user", TESTER, "--group-add", "4321",
        ).ok().text  # fmt: skip

    both.same(scenario)
