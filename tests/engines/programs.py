# SPDX-License-Identifier: Apache-2.0
"""Knows the engine pairs: three generations that the same tests run on.

``installed`` is what the host has (Docker 26 with containerd 1.7 where
quickstart installed it), ``forky`` the next Debian's Docker 28 with containerd
2.1, ``gomod`` Docker 29 with containerd 2.4 of the Go module proxy.
Owns: which programs a pair is made of, and where they lie. Does not own:
getting them (``fetch``), running them (``pair``).
"""

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from boxlite_runtime.paths import host_layout
from tests.engines import command

#: Where system programs are; a docker client in /usr/local/bin is no engine.
SYSTEM = [Path(d) for d in ("/usr/bin", "/usr/sbin", "/bin", "/sbin")]
LOCAL = [Path("/usr/local/bin"), Path("/usr/local/sbin")]

#: What ``gomod`` is built from. runc is one of the sources too, for Docker 29
#: asks for a time namespace, which runc knows from 1.2 on.
CONTAINERD = ("github.com/containerd/containerd/v2", "v2.4.2")
MOBY = ("github.com/moby/moby/v2", "v2.0.0-beta.24")
RUNC = ("github.com/opencontainers/runc", "v1.5.2")


class Unavailable(Exception):
    """A pair cannot be had here; the text says what would change that."""


@dataclass(frozen=True)
class Programs:
    """The programs of one pair; ``docker`` and ``dockerd`` may be absent."""

    name: str
    containerd: Path
    ctr: Path
    dockerd: Path | None
    docker: Path | None
    #: What containerd and dockerd get as PATH, after the shim's directory.
    path: tuple[Path, ...]


def cache_directory(name: str) -> Path:
    """Return where a pair that is no part of the system is kept."""
    return host_layout().build_cache / "engines" / name


def go_directory(module: tuple[str, str]) -> Path:
    """Return where the programs built from a version of a Go module are kept."""
    path, version = module
    (name,) = [part for part in path.split("/")[2:] if part != "v2"]
    return cache_directory("go") / f"{name}-{version}"


def find(name: str) -> Programs:
    """Return the programs of the pair ``name``, or raise ``Unavailable``."""
    return PAIRS[name]()


def version(program: Path) -> tuple[int, ...]:
    """Return the first dotted number in what ``program --version`` prints."""
    text = command.run([program, "--version"]).ok().text
    found = re.search(r"\bv?(\d+)\.(\d+)\.(\d+)", text)
    if found is None:
        raise Unavailable(f"{program} --version says {text!r}")
    return tuple(int(part) for part in found.groups())


def _which(name: str, directories: list[Path]) -> Path | None:
    found = shutil.which(name, path=os.pathsep.join(map(str, directories)))
    return Path(found) if found else None


def _installed() -> Programs:
    containerd, ctr = (_which(name, SYSTEM + LOCAL) for name in ("containerd", "ctr"))
    if containerd is None or ctr is None:
        raise Unavailable("no containerd here; install/quickstart installs it")
    dockerd = _which("dockerd", SYSTEM + LOCAL)
    if dockerd is not None and version(dockerd) < (23,):
        raise Unavailable(f"{dockerd} is older than 23, which knows no shims")
    return Programs(
        "installed",
        containerd,
        ctr,
        dockerd,
        _which("docker", SYSTEM + LOCAL),
        tuple(SYSTEM),
    )


def _forky() -> Programs:
    root = cache_directory("forky")
    _there(root / "usr/sbin/dockerd", "forky", "the next Debian's docker.io")
    return Programs(
        "forky",
        root / "usr/bin/containerd",
        root / "usr/bin/ctr",
        root / "usr/sbin/dockerd",
        root / "usr/bin/docker",
        (root / "usr/bin", root / "usr/sbin", *SYSTEM),
    )


def _gomod() -> Programs:
    containerd, moby, runc = (go_directory(m) for m in (CONTAINERD, MOBY, RUNC))
    for directory in (containerd, moby, runc):
        _there(directory, "gomod", f"{directory.name} from the Go module proxy")
    # The command is on no module proxy, and older ones know newer engines.
    docker = _which("docker", SYSTEM + LOCAL)
    if docker is None:
        raise Unavailable("no docker command; apt-get install docker-cli")
    return Programs(
        "gomod",
        containerd / "containerd",
        containerd / "ctr",
        moby / "dockerd",
        docker,
        (containerd, moby, runc, *SYSTEM),
    )


def _there(path: Path, pair: str, what: str) -> None:
    if not path.exists():
        raise Unavailable(
            f"no {path}; python -m tests.engines.fetch {pair} gets {what}"
        )


PAIRS: dict[str, Callable[[], Programs]] = {
    "installed": _installed,
    "forky": _forky,
    "gomod": _gomod,
}
