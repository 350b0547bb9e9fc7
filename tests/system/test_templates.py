# SPDX-License-Identifier: Apache-2.0
"""A machine that starts from a template is a machine of its own, or boots."""

import json
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from boxlite_runtime.templates.shim import Shim, Template
from tests.engines import command, processes, settings
from tests.engines.command import Word
from tests.engines.docker import Docker
from tests.engines.images import IMAGE
from tests.engines.pair import Pair

pytestmark = pytest.mark.boxlite_only

#: Clones that start at once in the test of what they must not share.
CLONES = int(os.environ.get("BOXLITE_TEST_CLONES", "8"))
#: Seconds by which a clone's clock may be off.
CLOCK_ERROR = 0.05
REQUIRED = "--annotation=io.boxlite.template=required"


@pytest.fixture(scope="module")
def engine(docker: Docker) -> Docker:
    """Docker whose new containers start from the tests' templates."""
    return docker.using(settings.TEMPLATES)


@pytest.fixture
def template(pair: Pair, built: Template) -> Iterator[Path]:
    """The template's directory, whole again after the test."""
    directory = pair.templates / built.name
    kept = pair.directory / "kept-template"
    shutil.copytree(directory, kept)
    yield directory
    for path in (directory, pair.templates / "digests.json.away"):
        if path.is_symlink() or path.is_file():
            path.unlink()
        elif path.exists():
            shutil.rmtree(path)
    kept.rename(directory)
    pair.templates.chmod(0o700)


@contextmanager
def restored(engine: Docker, *options: str) -> Iterator[str]:
    """A running container whose machine came from a template."""
    with engine.container(REQUIRED, *options) as container:
        assert from_template(engine, container)
        yield container


def from_template(engine: Docker, container: str) -> bool:
    """Tell whether a container's machine was restored and not booted."""
    return " -incoming " in processes.machine(container).command


def log_since(pair: Pair, start: int) -> list[str]:
    """Return what shims have logged of templates since a place in the log."""
    text = (pair.directory / "containerd.log").read_bytes()[start:]
    lines = text.decode(errors="replace").splitlines()
    return [line for line in lines if "WARN" in line and "template" in line]


def log_end(pair: Pair) -> int:
    """Return the place where the log ends now."""
    return (pair.directory / "containerd.log").stat().st_size


def boots_with_one_warning(pair: Pair, engine: Docker, *words: str) -> None:
    """Run a container that cannot use the template, and see what is said."""
    start = log_end(pair)
    with engine.container() as container:
        assert not from_template(engine, container)
        assert engine.exec(container, "echo", "it runs").ok().text == "it runs"
    (line,) = log_since(pair, start)
    for word in words:
        assert word in line, line


@pytest.mark.kvm
def test_clones_share_no_random_numbers_and_no_names(
    engine: Docker, built: Template
) -> None:
    script = (
        "cd /proc/sys/kernel/random; cat boot_id uuid /etc/hostname;"
        " head -c 16 /dev/urandom | md5sum; head -c 16 /dev/random | md5sum"
    )
    argv = ("--rm", "--network=none", REQUIRED, IMAGE, "sh", "-c", script)
    with ThreadPoolExecutor(CLONES) as pool:
        runs = [pool.submit(engine.run, *argv, timeout=240) for _ in range(CLONES)]
        found = [run.result().ok().lines for run in runs]
    for said in zip(*found, strict=True):
        assert len(set(said)) == CLONES, said


@pytest.mark.kvm
def test_a_clone_is_in_huge_pages_where_a_first_touch_is_an_exit(
    engine: Docker, built: Template
) -> None:
    with restored(engine) as container:
        machine = processes.machine(container)
        maps = Path(f"/proc/{machine.pid}/smaps").read_text()
    pattern = r"/memfd:boxlite-ram.*?ShmemPmdMapped: +(\d+) kB"
    (huge,) = re.findall(pattern, maps, re.DOTALL)
    assert (int(huge) >= 8 * 1024) == ("accel=kvm" in machine.command)


@pytest.mark.kvm
def test_a_clones_clock_is_right(engine: Docker, built: Template) -> None:
    with restored(engine) as container:
        closest = (float("inf"), 0.0)
        for _ in range(8):
            before = time.time()
            nanoseconds = engine.exec(container, "probe", "clock").ok().text.split()[0]
            after = time.time()
            guest = int(nanoseconds) / 1e9
            off = max(before - guest, guest - after, 0.0)
            closest = min(closest, (after - before, off))
    assert closest[1] <= CLOCK_ERROR


@pytest.mark.kvm
def test_a_clones_clocks_go_on_evenly_from_its_first_moment(
    engine: Docker, built: Template
) -> None:
    began = time.time()
    script = "probe clock; sleep 2; probe clock"
    lines = engine.sh(script, REQUIRED).ok().lines
    ended = time.time()
    (wall, since), (wall_later, since_later) = (
        (int(words[0]) / 1e9, int(words[3]) / 1e9) for words in map(str.split, lines)
    )
    assert began - CLOCK_ERROR <= wall and wall_later <= ended + CLOCK_ERROR
    assert since_later - since >= 2
    # A step of either shows as a difference.
    assert abs((wall_later - wall) - (since_later - since)) <= CLOCK_ERROR


def test_a_clone_has_its_own_address(engine: Docker, built: Template) -> None:
    with restored(engine, "--network=bridge") as container:
        networks = engine.inspect(container)["NetworkSettings"]["Networks"]
        address = networks["bridge"]["MacAddress"]
        seen = engine.exec(container, "cat", "/sys/class/net/eth0/address").ok().text
    assert seen == address


@pytest.mark.kvm
def test_a_clone_has_the_size_it_would_have_booted_with(
    engine: Docker, built: Template
) -> None:
    script = "nproc; awk '/MemTotal/ {print $2}' /proc/meminfo; cat /sys/module/grow/parameters/limit"
    sizes = [
        engine.sh(script, f"--annotation=io.boxlite.template={mode}").ok().lines
        for mode in ("required", "off")
    ]
    assert sizes[0] == sizes[1]


def test_a_limit_below_the_template_is_held(engine: Docker, built: Template) -> None:
    limit = "--memory=128m"
    with restored(engine, limit) as container:
        script = "cat /sys/fs/cgroup/memory.max"
        assert engine.exec(container, "sh", "-c", script).ok().text == str(128 << 20)


def test_off_boots_although_there_is_one(engine: Docker, built: Template) -> None:
    with engine.container("--annotation=io.boxlite.template=off") as container:
        assert not from_template(engine, container)


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 0x20]))


def cut(path: Path) -> None:
    """Cut a file off in the middle."""
    os.truncate(path, path.stat().st_size // 2)


def link(path: Path) -> None:
    """Put a link in a file's place."""
    elsewhere = path.with_name("elsewhere")
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "flipped": flip,
    "cut off": cut,
    "gone": Path.unlink,
    "a link": link,
    "anybody's to write": lambda path: path.chmod(0o666),
    "another user's": lambda path: os.chown(path, 12345, -1),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", ["memory", "state", "manifest.json"])
def test_a_damaged_template_is_not_executed(
    pair: Pair, engine: Docker, template: Path, file: str, damage: str
) -> None:
    DAMAGES[damage](template / file)
    boots_with_one_warning(pair, engine, template.name)


def test_a_directory_others_may_write_to_is_not_believed(
    pair: Pair, engine: Docker, template: Path
) -> None:
    template.parent.chmod(0o777)
    boots_with_one_warning(pair, engine, "others than its owner")


def test_a_required_template_that_is_damaged_is_refused_in_words(
    engine: Docker, template: Path
) -> None:
    for file, words in (("state", "its digest differs"), ("memory", "checksum")):
        flip(template / file)
        refused = engine.run("--rm", REQUIRED, IMAGE, "true")
        assert refused.code != 0
        assert words in refused.errors
        # The same bit again.
        flip(template / file)


def test_a_stale_template_is_said_to_be(
    pair: Pair, engine: Docker, template: Path
) -> None:
    size, _, key = template.name.partition("-")
    template.rename(template.with_name(f"{size}-{key[::-1]}"))
    try:
        boots_with_one_warning(pair, engine, "stale", "build them again")
    finally:
        template.with_name(f"{size}-{key[::-1]}").rename(template)


@pytest.mark.kvm
def test_a_template_of_another_processor_is_stale(
    shim: Shim, built: Template, tmp_path: Path
) -> None:
    told = Path("/proc/cpuinfo").read_text()
    other = tmp_path / "cpuinfo"
    other.write_text(re.sub(r"(?m)^(model name\s*): .*", r"\1: Another", told))
    assert shim.config is not None
    # In a mount namespace of its own, where the processor is another.
    script = 'mount --bind "$0" /proc/cpuinfo && exec "$@"'
    there: list[Word] = ["unshare", "--mount", "sh", "-c", script, other]
    words: list[Word] = [shim.program, "template", "list", "--config", shim.config]
    listed = json.loads(command.run(there + words).ok().stdout)
    assert [(found["name"], found["state"]) for found in listed] == [
        (built.name, "stale")
    ]
    assert [found.state for found in shim.found()] == ["fresh"]


def test_a_removal_leaves_running_machines_alone(
    engine: Docker, shim: Shim, template: Path
) -> None:
    with restored(engine) as container:
        shim.remove([template.name])
        assert shim.found() == []
        assert engine.exec(container, "echo", "still").ok().text == "still"


def test_two_builds_at_once_make_one(shim: Shim, template: Path) -> None:
    shutil.rmtree(template)
    with ThreadPoolExecutor(2) as pool:
        builds = [pool.submit(shim.build, None) for _ in range(2)]
        made = [build.result()[1] for build in builds]
    assert sorted(made) == [False, True]
    assert [found.state for found in shim.check([], start=True)] == ["fresh"]


def test_starts_go_on_while_a_template_is_replaced(
    engine: Docker, shim: Shim, template: Path
) -> None:
    done = threading.Event()

    def start_until_done() -> int:
        started = 0
        while not done.is_set():
            engine.run("--rm", "--network=none", IMAGE, "true").ok()
            started += 1
        return started

    with ThreadPoolExecutor(1) as pool:
        starts = pool.submit(start_until_done)
        try:
            shim.build(None, force=True)
        finally:
            done.set()
        assert starts.result() > 0
