# SPDX-License-Identifier: Apache-2.0
"""Install and uninstall below a root of their own, through the real code."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from boxlite_runtime.errors import BoxliteError
from boxlite_runtime.installer import apply, journal, observe, plan
from boxlite_runtime.paths import SHIM_NAME, Layout

DAEMON = b'{"debug":true,   "log-level": "warn"}'
CONTAINERD = b"version = 2\n# mine\n"


class Host:
    """A host and a source tree with built files, both below a directory."""

    def __init__(self, base: Path, source: Path) -> None:
        self.source = base / "source"
        release = self.source / "shim-rs" / "target" / "release"
        release.mkdir(parents=True)
        (release / SHIM_NAME).write_bytes(b"shim 1")
        (self.source / "install").symlink_to(source / "install")
        root = base / "host"
        root.mkdir()
        self.layout = Layout(root=root, cache=Path("/cache"))
        self.layout.build_cache.mkdir()
        for name in ("vmlinux", "initrd.img", "manifest.json"):
            (self.layout.build_cache / name).write_bytes(name.encode())

    def facts(self) -> plan.Facts:
        return observe.facts(self.layout, self.source)

    def install(self) -> plan.Plan:
        facts = self.facts()
        decided = plan.install(facts)
        apply.apply(decided, facts.journal)
        return decided

    def uninstall(self) -> plan.Plan:
        listed = journal.load(self.layout.journal)
        there = [e.path for e in listed.entries if e.path.exists()]
        decided = plan.uninstall(listed, {p: p.read_bytes() for p in there})
        apply.apply(decided, listed)
        return decided

    def files(self) -> dict[Path, tuple[bytes, int]]:
        """Return every file outside our state: its content and mode."""
        skip = (self.layout.state, self.layout.build_cache)
        return {
            path: (path.read_bytes(), path.stat().st_mode)
            for path in self.layout.root.rglob("*")
            if path.is_file() and not any(path.is_relative_to(s) for s in skip)
        }


@pytest.fixture
def host(tmp_path: Path, source: Path) -> Host:
    return Host(tmp_path, source)


def write(path: Path, content: bytes, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


def test_install_puts_everything_in_place(host: Host) -> None:
    host.install()

    layout = host.layout
    assert layout.shim.read_bytes() == b"shim 1"
    assert layout.shim.stat().st_mode & 0o777 == 0o755
    assert layout.kernel.read_bytes() == b"vmlinux"
    assert layout.config.exists()
    assert "boxlite" in json.loads(layout.docker_config.read_text())["runtimes"]
    assert layout.journal.stat().st_mode & 0o777 == 0o600


def test_a_second_install_changes_nothing(host: Host) -> None:
    host.install()

    assert host.install().actions == ()


def test_uninstall_restores_every_file_byte_for_byte(host: Host) -> None:
    write(host.layout.docker_config, DAEMON, 0o600)
    write(host.layout.containerd_config, CONTAINERD)
    write(host.layout.shim, b"an older shim", 0o700)
    before = host.files()

    host.install()
    assert host.files() != before
    host.uninstall()

    assert host.files() == before


def test_uninstall_on_a_bare_host_leaves_no_file_and_no_directory(host: Host) -> None:
    host.install()
    host.uninstall()

    assert host.files() == {}
    left = {path.name for path in host.layout.root.iterdir()}
    assert left == {"cache", "var"}


def test_what_is_restored_is_older_than_the_first_install(host: Host) -> None:
    write(host.layout.docker_config, DAEMON)
    host.install()
    release = host.source / "shim-rs" / "target" / "release"
    (release / SHIM_NAME).write_bytes(b"shim 2")
    host.install()
    assert host.layout.shim.read_bytes() == b"shim 2"

    host.uninstall()

    assert host.layout.docker_config.read_bytes() == DAEMON
    assert not host.layout.shim.exists()


def test_an_edited_daemon_json_keeps_the_edits(host: Host) -> None:
    write(host.layout.docker_config, DAEMON)
    host.install()
    document = json.loads(host.layout.docker_config.read_text())
    host.layout.docker_config.write_text(json.dumps({**document, "mtu": 1400}))

    host.uninstall()

    left = json.loads(host.layout.docker_config.read_text())
    assert left == {"debug": True, "log-level": "warn", "mtu": 1400}


def test_an_edited_configuration_outlives_install_and_uninstall(host: Host) -> None:
    host.install()
    host.layout.config.write_text("[log]\nlevel = 'debug'\n")

    decided = host.install()
    assert decided.actions == ()
    assert any("edited and is kept" in note for note in decided.notes)
    host.uninstall()

    assert host.layout.config.read_text() == "[log]\nlevel = 'debug'\n"


def test_an_unedited_configuration_follows_the_source_tree(host: Host) -> None:
    host.install()
    facts = replace(host.facts(), config_template="# newer\n")

    paths = [a.path for a in plan.install(facts).actions if isinstance(a, plan.Put)]

    assert paths == [host.layout.config]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda h: write(h.layout.docker_config, b"{"),
        lambda h: (h.layout.build_cache / "vmlinux").unlink(),
    ],
    ids=["daemon.json is not JSON", "kernel is not built"],
)
def test_a_refusal_comes_before_any_change(
    host: Host, spoil: Callable[[Host], None]
) -> None:
    spoil(host)
    before = host.files()

    with pytest.raises(BoxliteError) as caught:
        host.install()

    assert caught.value.hint
    assert host.files() == before
    assert not host.layout.state.exists()


def test_a_config_of_containerd_we_cannot_extend_is_only_a_note(host: Host) -> None:
    write(host.layout.containerd_config, b"version = 9\n")

    decided = host.install()

    assert any("Kubernetes" in note for note in decided.notes)
    assert host.layout.containerd_config.read_bytes() == b"version = 9\n"


def test_another_prefix_is_named_to_both_engines(host: Host) -> None:
    facts = host.facts()
    moved = replace(facts, layout=replace(host.layout, prefix=Path("/opt/b")))

    puts = {a.path: a for a in plan.install(moved).actions if isinstance(a, plan.Put)}

    docker = puts[host.layout.docker_config].content or b""
    containerd = puts[host.layout.containerd_config].content or b""
    config = puts[host.layout.config].content or b""
    assert b'"runtimeType": "/opt/b/bin/containerd-shim-boxlite-v1"' in docker
    assert b'runtime_path = "/opt/b/bin/containerd-shim-boxlite-v1"' in containerd
    assert b'kernel = "/opt/b/lib/boxlite/vmlinux"' in config


def test_a_configuration_that_is_a_link_stays_one(host: Host, tmp_path: Path) -> None:
    real = tmp_path / "managed.json"
    real.write_bytes(DAEMON)
    host.layout.docker_config.parent.mkdir(parents=True)
    host.layout.docker_config.symlink_to(real)

    host.install()
    assert b"boxlite" in real.read_bytes()
    host.uninstall()

    assert host.layout.docker_config.is_symlink()
    assert real.read_bytes() == DAEMON


def test_a_damaged_journal_is_an_error_not_an_empty_one(host: Host) -> None:
    write(host.layout.journal, b"{}")

    with pytest.raises(BoxliteError, match="journal"):
        journal.load(host.layout.journal)
