# SPDX-License-Identifier: Apache-2.0
"""The images of the cases, made once from Debian packages.

Owns: the recipes, and the archive of each in the build cache, named by a
digest of what went into it. Does not own: the archive's form (``archive``),
or bringing it into an engine (``engines``).

Call order: ``archive_of`` for each image that the chosen cases need.
"""

import hashlib
import json
import shutil
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

from boxlite_runtime import process
from boxlite_runtime.conformance import archive
from boxlite_runtime.errors import BoxliteError, ExitCode
from boxlite_runtime.progress import Step, step

SUITE = "trixie"
MIRROR = "http://deb.debian.org/debian"
#: Raise it when what is done with the packages changes.
EDITION = 1


@dataclass(frozen=True)
class Recipe:
    """What an image is made from. Without packages it is busybox alone.

    ``config`` are keys of the image's configuration as OCI names them.
    """

    packages: tuple[str, ...] = ()
    config: dict[str, object] = field(default_factory=dict)


PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

RECIPES: dict[str, Recipe] = {
    "busybox": Recipe(config={"Cmd": ["sh"], "Env": [PATH]}),
    # Everything an image can say about its containers.
    "declaring": Recipe(
        config={
            "Entrypoint": ["sh", "-c", 'echo "entry $0 $*"; id -u; pwd; echo $GREETING'],
            "Cmd": ["first", "second"],
            "Env": [PATH, "GREETING=hello from the image"],
            "User": "tester",
            "WorkingDir": "/srv/work",
            "Volumes": {"/srv/volume": {}},
            "StopSignal": "SIGUSR1",
            "ExposedPorts": {"8080/tcp": {}},
            "Labels": {"from": "the image"},
        }
    ),
    "debian": Recipe(
        packages=(
            "attr", "e2fsprogs", "gcc", "git", "iproute2", "iptables", "libc6-dev",
            "nftables", "nginx-light", "openssl", "perl-base", "postgresql", "procps",
            "python3-minimal", "libpython3-stdlib", "redis-server", "sqlite3",
            "strace", "stress-ng", "util-linux", "xz-utils",
        ),
        config={"Cmd": ["bash"], "Env": [PATH]},
    ),
    # What divides its cgroup and makes networks and mounts of its own.
    "engine": Recipe(
        packages=(
            "busybox-static", "dbus", "docker.io", "docker-cli", "iptables", "kmod",
            "procps", "systemd-sysv",
        ),
        config={"Cmd": ["bash"], "Env": [PATH], "Volumes": {"/var/lib/docker": {}}},
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Archive:
    """A finished image on disk. ``reference`` is the name it loads under."""

    path: Path
    reference: str


def archive_of(name: str, cache: Path) -> Archive:
    """Return an image's archive, making it where the cache has none.

    Raises ``BoxliteError`` when the host lacks a program for it.
    """
    recipe = RECIPES[name]
    stamp: dict[str, object] = {"edition": EDITION, "suite": SUITE, **asdict(recipe)}
    if not recipe.packages:
        stamp["busybox"] = hashlib.sha256(_busybox(cache).read_bytes()).hexdigest()
    digest = hashlib.sha256(json.dumps(stamp, sort_keys=True).encode()).hexdigest()[:12]
    directory = cache / "conformance"
    path = directory / f"{name}-{digest}.tar"
    reference = f"boxlite-conformance/{name}:{digest}"
    if not path.exists():
        directory.mkdir(parents=True, exist_ok=True)
        with (
            step(f"image {name} for the cases") as current,
            tempfile.TemporaryDirectory(prefix=f".{name}-", dir=directory) as scratch,
        ):
            layer = Path(scratch) / "layer.tar"
            if recipe.packages:
                _debian(recipe.packages, Path(scratch) / "root", layer, current)
            else:
                archive.busybox_layer(_busybox(cache), layer)
            current.note("writing the archive")
            finished = Path(scratch) / "image.tar"
            archive.write(finished, layer, reference, recipe.config)
            finished.replace(path)
    return Archive(path, reference)


def _busybox(cache: Path) -> Path:
    """Return a static busybox: the host's, else the one of the package."""
    installed = Path("/bin/busybox")
    if installed.exists() and b"/ld-linux" not in installed.read_bytes()[:4096]:
        return installed
    kept = cache / "conformance" / "busybox"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with (
            step("busybox-static"),
            tempfile.TemporaryDirectory(dir=kept.parent) as scratch,
        ):
            process.run(["apt-get", "download", "busybox-static"], cwd=scratch)
            (package,) = Path(scratch).glob("*.deb")
            process.run(["dpkg", "--extract", package, "root"], cwd=scratch)
            found = next(Path(scratch).glob("root/**/bin/busybox"))
            found.replace(kept)
    return kept


def _debian(packages: tuple[str, ...], root: Path, layer: Path, current: Step) -> None:
    """Make a Debian with ``packages`` in ``root`` and pack it into ``layer``."""
    if shutil.which("debootstrap", path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
        raise BoxliteError(
            "debootstrap is not installed, and the image debian is made with it",
            hint="apt-get install debootstrap",
            exit_code=ExitCode.HOST_UNFIT,
        )

    def tell(line: str) -> None:
        current.note(line.removeprefix("I: ")[:40])

    # In a mount namespace: what debootstrap mounts is gone however it ends.
    process.stream(
        [
            "unshare", "--mount", "debootstrap", "--variant=minbase",
            f"--include={','.join(packages)}", SUITE, root, MIRROR,
        ],
        on_line=tell,
        env={"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
    )  # fmt: skip
    for waste in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc",
                  "usr/share/locale", "usr/share/man", "var/log"):  # fmt: skip
        shutil.rmtree(root / waste, ignore_errors=True)
    for needed in ("var/cache/apt", "var/lib/apt/lists", "var/log"):
        (root / needed).mkdir(parents=True, exist_ok=True)
    archive.add_users(root)
    current.note("packing")
    process.run(["tar", "--numeric-owner", "-C", root, "-cf", layer, "."])
