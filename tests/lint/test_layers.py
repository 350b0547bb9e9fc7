# SPDX-License-Identifier: Apache-2.0
"""Which crate may know which: the map of the architecture, enforced."""

import tomllib
from pathlib import Path

import pytest

#: Crate -> the crates of the workspace it may depend on.
ALLOWED: dict[str, set[str]] = {
    "linux": set(),
    "protocol": set(),
    "vmm": set(),
    "net": set(),
    "agent": {"boxlite-linux", "boxlite-protocol"},
    "shim": {"boxlite-linux", "boxlite-protocol", "boxlite-vmm", "boxlite-net"},
}
#: What only the shim may know of.
SHIM_ONLY = {"containerd-shim", "containerd-shim-protos", "oci-spec"}


def dependencies(root: Path, crate: str) -> set[str]:
    """Return the names a crate depends on when it is built for use."""
    manifest = root / "shim-rs" / "crates" / crate / "Cargo.toml"
    document = tomllib.loads(manifest.read_text())
    return set(document.get("dependencies", {}))


def test_every_crate_is_on_the_map(root: Path) -> None:
    crates = {path.name for path in (root / "shim-rs" / "crates").iterdir()}

    assert crates == set(ALLOWED)


@pytest.mark.parametrize("crate", ALLOWED)
def test_a_crate_depends_only_on_those_below_it(root: Path, crate: str) -> None:
    ours = {name for name in dependencies(root, crate) if name.startswith("boxlite-")}

    assert ours <= ALLOWED[crate]


@pytest.mark.parametrize("crate", sorted(set(ALLOWED) - {"shim"}))
def test_only_the_shim_knows_containerd_and_oci(root: Path, crate: str) -> None:
    assert not dependencies(root, crate) & SHIM_ONLY
