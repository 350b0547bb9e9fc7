# SPDX-License-Identifier: Apache-2.0
"""The kernels that an emulated host can run: those of Debian's users.

Owns: a kernel in the build cache, whole or absent. Does not own: how a package is
had (``debian``). A kernel that was got stays; removing its directory gets the newest.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from boxlite_runtime.progress import step
from tests.engines import debian, programs
from tests.engines.debian import Suite
from tests.engines.programs import Unavailable

#: Suites of Debian by name: 12 with Linux 6.1, 13 with 6.12.
HOSTS = ("bookworm", "trixie")
#: The package that depends on the newest kernel of a suite.
NEWEST = "linux-image-amd64"


@dataclass(frozen=True)
class Kernel:
    """A kernel, unpacked; ``root`` holds it as its host's files would."""

    root: Path

    @property
    def image(self) -> Path:
        """What QEMU boots."""
        return self.root / "vmlinuz"

    @property
    def modules(self) -> Path:
        """The directory that belongs to /lib/modules, named after the release."""
        (directory,) = (self.root / "lib/modules").iterdir()
        return directory


def directory(host: str) -> Path:
    """Return where the kernel of a host is kept."""
    return programs.cache_directory("emulated") / host


def find(host: str) -> Kernel:
    """Return a host's kernel, got once; raise ``Unavailable`` where it cannot be."""
    root = directory(host)
    if not root.exists():
        with step(f"unpacking the kernel of Debian's {host}"):
            _get(host, root)
    return Kernel(root)


def _get(suite: str, root: Path) -> None:
    part = debian.empty(root)
    packages = Suite(suite, part / "apt")
    found = [n for n in packages.depends(NEWEST) if n.startswith("linux-image-")]
    if len(found) != 1:
        raise Unavailable(f"{NEWEST} of {suite} names no kernel: {found}")
    packages.unpack(found, part / "package")
    arrange(part / "package", part)
    debian.run("depmod", "--basedir", part, Kernel(part).modules.name)
    for away in ("apt", "package"):
        shutil.rmtree(part / away)
    part.rename(root)


def arrange(package: Path, root: Path) -> None:
    """Move what matters of an unpacked package to its places below ``root``."""
    images = list(package.glob("boot/vmlinuz-*"))
    # Debian 13's packages have everything below usr.
    modules = [*package.glob("lib/modules/*"), *package.glob("usr/lib/modules/*")]
    if len(images) != 1 or len(modules) != 1:
        raise Unavailable(f"{package.name} holds no kernel: {images} {modules}")
    (root / "lib/modules").mkdir(parents=True)
    images[0].rename(root / "vmlinuz")
    modules[0].rename(root / "lib/modules" / modules[0].name)
