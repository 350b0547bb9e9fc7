# SPDX-License-Identifier: Apache-2.0
"""Finds, and on request fetches, the programs of each engine pair.

Owns: the three pairs and how each is had. ``installed`` is what the host
has; ``forky`` is the next Debian's packages unpacked beside the system, and
``gomod`` is built from the Go module proxy; both are kept in the build cache.
Does not own: running them (``pair``). Nothing here changes the system.
"""

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from boxlite_runtime.paths import host_layout
from boxlite_runtime.progress import step
from tests.engines import command

#: Where system programs are; a docker client in /usr/local/bin is no engine.
SYSTEM = [Path(d) for d in ("/usr/bin", "/usr/sbin", "/bin", "/sbin")]
LOCAL = [Path("/usr/local/bin"), Path("/usr/local/sbin")]

CONTAINERD_GO = "v2.4.2"
MOBY_GO = "v2.0.0-beta.24"

#: Seconds a download or a build from the module proxy may take.
FETCH_TIMEOUT = 1200.0


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


def find(name: str, *, fetch: bool = False) -> Programs:
    """Return the programs of the pair ``name``, or raise ``Unavailable``.

    With ``fetch`` a pair that is not in the cache is downloaded or built.
    """
    return PAIRS[name](fetch)


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


def _installed(fetch: bool) -> Programs:
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


def _forky(fetch: bool) -> Programs:
    root = cache_directory("forky")
    if not (root / "usr/sbin/dockerd").exists():
        if not fetch:
            raise Unavailable(
                f"no {root}; pytest --fetch-engines unpacks the next Debian's "
                "docker.io, docker-cli and containerd there"
            )
        with step("unpacking Docker of the next Debian"):
            _unpack_debian("forky", root, "docker.io", "docker-cli", "containerd")
    return Programs(
        "forky",
        root / "usr/bin/containerd",
        root / "usr/bin/ctr",
        root / "usr/sbin/dockerd",
        root / "usr/bin/docker",
        (root / "usr/bin", root / "usr/sbin", *SYSTEM),
    )


def _unpack_debian(suite: str, root: Path, *packages: str) -> None:
    """Unpack packages of another suite with an apt state of their own."""
    part = root.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    lists, archives = part / "apt/lists", part / "apt/archives"
    (lists / "partial").mkdir(parents=True)
    (archives / "partial").mkdir(parents=True)
    sources = part / "apt/sources.list"
    sources.write_text(f"deb http://deb.debian.org/debian {suite} main\n")
    options = [
        option
        for setting in (
            f"Dir::State::lists={lists}",
            f"Dir::Cache::archives={archives}",
            f"Dir::Cache::pkgcache={part}/apt/pkgcache.bin",
            f"Dir::Cache::srcpkgcache={part}/apt/srcpkgcache.bin",
            f"Dir::Etc::sourcelist={sources}",
            "Dir::Etc::sourceparts=/dev/null",
            "Dir::Etc::preferencesparts=/dev/null",
            # The downloads are root's; apt's own user may not enter a cache.
            "APT::Sandbox::User=root",
        )
        for option in ("-o", setting)
    ]
    command.run(["apt-get", *options, "update"], timeout=FETCH_TIMEOUT).ok()
    # `download` writes to the working directory and takes no dependencies.
    command.run(
        ["env", "-C", archives, "apt-get", *options, "download", *packages],
        timeout=FETCH_TIMEOUT,
    ).ok()
    for package in packages:
        (archive,) = archives.glob(f"{package}_*.deb")
        command.run(["dpkg", "-x", archive, part]).ok()
    shutil.rmtree(part / "apt")
    part.rename(root)


def _gomod(fetch: bool) -> Programs:
    root = cache_directory("gomod")
    if not (root / "containerd-shim-runc-v2").exists():
        if not fetch or shutil.which("go") is None:
            raise Unavailable(
                f"no {root}; pytest --fetch-engines builds containerd "
                f"{CONTAINERD_GO} there, and needs Go 1.26 or later"
            )
        with step(f"building containerd {CONTAINERD_GO}"):
            _go_install(
                root,
                *(
                    f"github.com/containerd/containerd/v2/cmd/{name}@{CONTAINERD_GO}"
                    for name in ("containerd", "ctr", "containerd-shim-runc-v2")
                ),
            )
    return Programs(
        "gomod",
        root / "containerd",
        root / "ctr",
        root / "dockerd" if (root / "dockerd").exists() else None,
        _which("docker", SYSTEM + LOCAL),
        (root, *SYSTEM),
    )


def _gomod_docker(fetch: bool) -> Programs:
    root = cache_directory("gomod")
    base = _gomod(fetch)
    if base.dockerd is None:
        if not fetch:
            raise Unavailable(
                f"no {root}/dockerd; pytest --fetch-engines builds moby {MOBY_GO}"
            )
        with step(f"building dockerd of moby {MOBY_GO}"):
            _go_install(root, f"github.com/moby/moby/v2/cmd/dockerd@{MOBY_GO}")
        base = _gomod(fetch=False)
    return base


def _go_install(root: Path, *packages: str) -> None:
    part = root.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    command.run(
        ["go", "install", *packages],
        timeout=FETCH_TIMEOUT,
        # -p 1: a test host is shared; a build in the background stays there.
        env={"GOBIN": str(part), "CGO_ENABLED": "0", "GOFLAGS": "-p=1"},
    ).ok()
    root.mkdir(parents=True, exist_ok=True)
    for program in part.iterdir():
        program.rename(root / program.name)
    part.rmdir()


PAIRS: dict[str, Callable[[bool], Programs]] = {
    "installed": _installed,
    "forky": _forky,
    "gomod": _gomod,
    "gomod-docker": _gomod_docker,
}
