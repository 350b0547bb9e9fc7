# SPDX-License-Identifier: Apache-2.0
"""What the tree records is what Kconfig says today, where the source is there."""

from pathlib import Path

import pytest

from boxlite_runtime.guest import catalogue, fragments, kconfig
from boxlite_runtime.guest.catalogue import Selection
from boxlite_runtime.paths import host_layout

ROOT = Path(__file__).resolve().parents[2] / "guest-kernel-config"


def unpacked(version: str) -> Path | None:
    """Return the tree that a build on this host has unpacked, if any."""
    trees = (host_layout().build_cache / "kernel" / "source").glob(f"{version}-*")
    return max(trees, key=lambda tree: tree.stat().st_mtime, default=None)


@pytest.mark.parametrize(
    "selection", catalogue.load(ROOT).selections(), ids=lambda selection: selection.name
)
def test_the_fragments_still_resolve_to_what_is_recorded(selection: Selection) -> None:
    tree = unpacked(selection.version)
    if tree is None:
        pytest.skip(f"no source of {selection.version}: boxlite kernel config makes it")
    declared = catalogue.load(ROOT)
    requests = fragments.merge(declared.fragment_paths(selection))
    architecture = declared.architectures[selection.architecture]

    text = kconfig.resolve(tree, requests, architecture)

    assert kconfig.portable(text) == declared.resolved_path(selection).read_text()
