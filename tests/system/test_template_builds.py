# SPDX-License-Identifier: Apache-2.0
"""A build of a template that comes to nothing leaves nothing."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from boxlite_runtime.errors import BoxliteError
from boxlite_runtime.templates.shim import Shim, Template
from tests.engines import processes, settings
from tests.engines.pair import Pair
from tests.engines.processes import Process
from tests.engines.waiting import until

pytestmark = pytest.mark.boxlite_only


def machines_being_saved(pair: Pair) -> list[Process]:
    """Return the machines of builds, and their file servers."""
    servers = processes.naming(f"{pair.templates}/.building-")
    named = processes.naming("boxlite-template")
    return [*servers, *(p for p in named if p.program.startswith("qemu"))]


def test_a_build_ends_with_the_tool_that_asked_for_it(
    pair: Pair, shim: Shim, built: Template
) -> None:
    assert shim.config is not None
    words = ("template", "--config", os.fspath(shim.config), "build", "--force")
    argv = [sys.executable, "-m", "boxlite_runtime", *words]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as tool:
        until("the machine runs", lambda: machines_being_saved(pair))
        tool.kill()
    builder = f"template build --force --config {shim.config}"
    until("the build is given up", lambda: not processes.naming(builder))
    until("machine and server have ended", lambda: not machines_being_saved(pair))
    assert [found.state for found in shim.found()] == ["fresh"]


def test_a_build_that_is_killed_is_cleared_by_the_next(
    pair: Pair, shim: Shim, built: Template
) -> None:
    assert shim.config is not None
    words = ("template", "build", "--force", "--config", os.fspath(shim.config))
    argv = [os.fspath(shim.program), *words]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as build:
        assert build.stdout is not None
        assert build.stdout.readline() == b'{"phase":"booting"}\n'
        until("the machine runs", lambda: machines_being_saved(pair))
        build.kill()
    until("machine and server have ended", lambda: not machines_being_saved(pair))
    assert [path for path in pair.templates.iterdir() if ".building" in path.name]
    assert [found.state for found in shim.found()] == ["fresh"]
    shim.build(None, force=True)
    assert not [path for path in pair.templates.iterdir() if ".building" in path.name]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for half a template."""
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=10m,mode=0700", "tmpfs", tmp_path],
        check=True,
    )
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


def test_a_full_disk_ends_a_build_and_nothing_is_left(
    shim: Shim, small_disk: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert shim.config is not None
    text = shim.config.read_text()
    config = tmp_path_factory.mktemp("small") / "config.toml"
    config.write_text(
        settings.with_value(text, "template", "directory", str(small_disk)),
    )
    with pytest.raises(BoxliteError, match=r"(?i)no space"):
        Shim(shim.program, config).build(None)
    left = {path.name for path in small_disk.iterdir()}
    assert left <= {".lock", "digests.json"}
