# SPDX-License-Identifier: Apache-2.0
"""Gets the engine pairs that are no part of the system into the build cache.

    python -m tests.engines.fetch forky gomod

Owns: the downloads, the builds, and that a directory in the cache is whole or
absent. Does not own: what a pair is made of (``programs``), how a package is had
(``debian``). Nothing here changes the system. A pair that cannot be had is told of
and is no failure: its tests are skipped.
"""

import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from boxlite_runtime.progress import step
from tests.engines import command, debian, programs
from tests.engines.command import Word
from tests.engines.debian import Suite
from tests.engines.programs import CONTAINERD, MOBY, RUNC, Unavailable

#: The version of Go that the sources in ``programs`` ask for.
GO = (1, 26)
#: The packages of the next Debian that hold it, for a host without.
GO_PACKAGES = ("golang-1.26-go", "golang-1.26-src")


def main(names: list[str]) -> int:
    """Get the named pairs; return the exit code."""
    unknown = set(names) - set(FETCHED)
    if unknown or not names:
        sys.stderr.write(f"usage: python -m tests.engines.fetch {' '.join(FETCHED)}\n")
        return 2
    for name in names:
        try:
            FETCHED[name]()
        except Unavailable as reason:
            sys.stderr.write(f"cannot be had: {name}: {reason}\n")
    return 0


def _forky() -> None:
    root = programs.cache_directory("forky")
    if not root.exists():
        with step("unpacking Docker 28 of the next Debian"):
            _unpack_debian(
                "forky",
                root,
                ("docker.io", "docker-cli", "containerd"),
                runs=("usr/sbin/dockerd", "usr/bin/containerd", "usr/bin/docker"),
            )


def _unpack_debian(
    suite: str, root: Path, packages: Sequence[str], *, runs: Sequence[str]
) -> None:
    """Unpack packages of another suite.

    The suite moves, and may leave this host's libc behind: the programs ``runs``
    are tried before the directory gets its name.
    """
    part = debian.empty(root)
    Suite(suite, part / "apt").unpack(packages, part)
    for program in runs:
        debian.run(
            part / program, "version" if program.endswith("/go") else "--version"
        )
    shutil.rmtree(part / "apt")
    part.rename(root)


def _gomod() -> None:
    _build(RUNC, "", cgo=True)
    _build(
        CONTAINERD,
        "cmd/containerd",
        "cmd/ctr",
        "cmd/containerd-shim-runc-v2",
        cgo=False,
    )
    _build(MOBY, "cmd/dockerd", "cmd/docker-proxy", cgo=False)


def _build(module: tuple[str, str], *packages: str, cgo: bool) -> None:
    """Build programs of one version of a module, unless the cache has them."""
    root = programs.go_directory(module)
    if root.exists():
        return
    go = _go()
    path, version = module
    with step(f"building {root.name}"):
        part = debian.empty(root)
        part.mkdir()
        debian.run(
            # A build takes minutes, and whoever works here comes first.
            *("nice", go, "install", "-tags", "seccomp"),
            *(f"{path}/{package}".rstrip("/") + f"@{version}" for package in packages),
            env={"GOBIN": str(part), "CGO_ENABLED": str(int(cgo))},
        )
        part.rename(root)


def _go() -> Word:
    """Return a Go that is new enough: the host's, or the next Debian's."""
    if _host_has_go():
        return "go"
    root = programs.cache_directory(GO_PACKAGES[0])
    go = f"usr/lib/go-{'.'.join(map(str, GO))}/bin/go"
    if not root.exists():
        with step(f"unpacking {GO_PACKAGES[0]} of the next Debian"):
            _unpack_debian("forky", root, GO_PACKAGES, runs=(go,))
    return root / go


def _host_has_go() -> bool:
    if shutil.which("go") is None:
        return False
    found = re.search(r"\bgo(\d+)\.(\d+)", command.run(["go", "version"]).ok().text)
    return found is not None and tuple(map(int, found.groups())) >= GO


FETCHED: dict[str, Callable[[], None]] = {"forky": _forky, "gomod": _gomod}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
