# SPDX-License-Identifier: Apache-2.0
"""What may happen to containerd's config.toml, and what may not."""

import tomllib
from pathlib import Path

import pytest

from boxlite_runtime.errors import BoxliteError
from boxlite_runtime.installer import containerd_config

DEBIAN = """\
version = 2

[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    [plugins."io.containerd.grpc.v1.cri".cni]
      bin_dir = "/usr/lib/cni"
"""


@pytest.fixture
def tables(source: Path) -> dict[int, str]:
    """Return the tables that are installed."""
    folder = source / "install" / "containerd"
    return {v: (folder / f"cri-v{v}.toml").read_text() for v in (2, 3)}


@pytest.mark.parametrize("text", [None, "", "# nothing set\n", DEBIAN, DEBIAN.strip()])
def test_the_runtime_is_added_and_all_else_kept(
    text: str | None, tables: dict[int, str]
) -> None:
    written = containerd_config.with_runtime(text, tables)

    cri = tomllib.loads(written)["plugins"]["io.containerd.grpc.v1.cri"]
    runtime = cri["containerd"]["runtimes"]["boxlite"]
    assert runtime["runtime_type"] == "io.containerd.boxlite.v1"
    assert runtime["options"]["ConfigPath"] == "/etc/boxlite/config.toml"
    assert written.startswith(text or "")
    assert ("cni" in cri) == ("cni" in (text or ""))


def test_version_3_uses_the_plugin_of_containerd_2(tables: dict[int, str]) -> None:
    written = tomllib.loads(containerd_config.with_runtime("version = 3\n", tables))

    plugin = written["plugins"]["io.containerd.cri.v1.runtime"]
    assert "boxlite" in plugin["containerd"]["runtimes"]


def test_adding_twice_is_adding_once(tables: dict[int, str]) -> None:
    once = containerd_config.with_runtime(DEBIAN, tables)

    assert containerd_config.with_runtime(once, tables) == once


def test_removing_gives_back_the_text(tables: dict[int, str]) -> None:
    once = containerd_config.with_runtime(DEBIAN, tables)

    assert containerd_config.without_runtime(once) == DEBIAN
    assert containerd_config.has_runtime(once)
    assert not containerd_config.has_runtime(DEBIAN)


def test_settings_added_below_the_block_survive_its_removal(
    tables: dict[int, str],
) -> None:
    edited = containerd_config.with_runtime(DEBIAN, tables) + "[debug]\n"

    assert containerd_config.without_runtime(edited) == DEBIAN + "[debug]\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("not toml", "not TOML"),
        ("[plugins.cri]\n", "version 1"),
        ("version = 9\n", "version 9"),
        (
            'version = 2\nplugins."io.containerd.grpc.v1.cri" = {}\n',
            "leaves no room",
        ),
        (
            'version = 2\n[plugins."io.containerd.grpc.v1.cri".containerd'
            ".runtimes.boxlite]\n",
            "already defines",
        ),
        (f"version = 2\n{containerd_config.BEGIN}\n", "without"),
    ],
)
def test_what_cannot_be_extended_safely_is_refused(
    text: str, why: str, tables: dict[int, str]
) -> None:
    with pytest.raises(BoxliteError, match=why) as caught:
        containerd_config.with_runtime(text, tables)

    assert caught.value.hint
