# SPDX-License-Identifier: Apache-2.0
"""Which crate, and which module of the agent, may know which: the map, enforced."""

import re
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

#: Crate -> the crates of the workspace it may depend on.
ALLOWED: dict[str, set[str]] = {
    "linux": set(),
    "protocol": set(),
    "vmm": {"boxlite-linux"},
    "net": {"boxlite-linux"},
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


def uses(path: Path, prefix: str) -> Iterator[str]:
    """Yield the names a Rust file has from ``prefix``, a group's first parts too."""
    text = re.sub(r"//.*", "", path.read_text())
    text = text.partition("#[cfg(test)]")[0]
    for name, group in re.findall(rf"\b{prefix}::(?:(\w+)|{{([^;]*)}};)", text):
        if name:
            yield name
        else:
            without_inner = re.sub(r"{[^{}]*}", "", group)
            yield from (
                part.split("::")[0].strip() for part in without_inner.split(",")
            )


def modules(directory: Path, prefix: str) -> dict[str, set[str]]:
    """Return which of a directory's modules names which other."""
    names = {path.stem for path in directory.iterdir()} - {"mod", "main"}
    graph: dict[str, set[str]] = {name: set() for name in names}
    for name in names:
        files = [directory / f"{name}.rs", *(directory / name).rglob("*.rs")]
        for file in (file for file in files if file.exists()):
            graph[name] |= names & set(uses(file, prefix)) - {name}
    return graph


@pytest.mark.parametrize(
    ("directory", "prefix"),
    [
        (".", "crate"),
        ("configure", "super"),
        ("container", "super"),
    ],
)
def test_the_agents_modules_form_no_circle(
    root: Path, directory: str, prefix: str
) -> None:
    graph = modules(root / "shim-rs/crates/agent/src" / directory, prefix)

    assert any(graph.values())
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")
