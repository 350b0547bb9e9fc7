# SPDX-License-Identifier: Apache-2.0
"""Where everything lives on a host.

Owns: the names of files and directories. Does not own: their content, nor
whether they exist. Every path goes through ``Layout``, so that a test can
put the whole product under a temporary root.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from boxlite_runtime.errors import BoxliteError

SHIM_NAME = "containerd-shim-boxlite-v1"


@dataclass(frozen=True)
class Layout:
    """The directories of an installation, below ``root``.

    The fields hold paths as the installed files name them; the properties
    hold paths as this process must open them (with ``root`` in front).
    """

    root: Path = Path("/")
    prefix: Path = Path("/usr/local")
    etc: Path = Path("/etc")
    var: Path = Path("/var/lib/boxlite")
    run: Path = Path("/run/boxlite")
    cache: Path = Path("/var/cache/boxlite")

    def at(self, path: Path) -> Path:
        """Return ``path`` below ``root``."""
        return self.root / path.relative_to("/")

    @property
    def shim(self) -> Path:
        """The shim binary, on containerd's default PATH."""
        return self.at(self.prefix / "bin" / SHIM_NAME)

    @property
    def lib(self) -> Path:
        """The directory of kernel, initrd and manifest."""
        return self.at(self.prefix / "lib" / "boxlite")

    @property
    def kernel(self) -> Path:
        """The guest kernel, an uncompressed PVH ELF."""
        return self.lib / "vmlinux"

    @property
    def initrd(self) -> Path:
        """The initrd that holds the agent."""
        return self.lib / "initrd.img"

    @property
    def manifest(self) -> Path:
        """Digests and versions of kernel and initrd, as JSON."""
        return self.lib / "manifest.json"

    @property
    def config(self) -> Path:
        """The shim's configuration."""
        return self.at(self.etc / "boxlite" / "config.toml")

    @property
    def docker_config(self) -> Path:
        """Docker's daemon.json."""
        return self.at(self.etc / "docker" / "daemon.json")

    @property
    def containerd_config(self) -> Path:
        """containerd's own configuration file."""
        return self.at(self.etc / "containerd" / "config.toml")

    @property
    def containerd_dropin(self) -> Path:
        """The file by which containerd's CRI learns of the runtime."""
        return self.at(self.etc / "containerd" / "conf.d" / "boxlite.toml")

    @property
    def state(self) -> Path:
        """What outlives a reboot: the accelerator, journal, templates."""
        return self.at(self.var)

    @property
    def accel(self) -> Path:
        """With what machines run, as the shim found out."""
        return self.state / "accel.json"

    @property
    def journal(self) -> Path:
        """What install changed, so that uninstall can take it back."""
        return self.state / "install.json"

    @property
    def templates(self) -> Path:
        """Saved machines."""
        return self.state / "templates"

    @property
    def run_dir(self) -> Path:
        """The shim's run state, gone after a reboot."""
        return self.at(self.run)

    @property
    def build_cache(self) -> Path:
        """Downloads and finished builds of the guest."""
        return self.at(self.cache)


def host_layout() -> Layout:
    """Return the layout of this host; BOXLITE_CACHE moves the build cache."""
    layout = Layout()
    cache = os.environ.get("BOXLITE_CACHE")
    return replace(layout, cache=Path(cache).resolve()) if cache else layout


def source_tree() -> Path:
    """Return the source tree to build from.

    BOXLITE_SOURCE if set, else the nearest directory above the working
    directory or above this package that holds both ``shim-rs`` and
    ``guest-kernel-config``. Raises ``BoxliteError`` where there is none.
    """
    named = os.environ.get("BOXLITE_SOURCE")
    starts = [Path(named)] if named else [Path.cwd(), Path(__file__)]
    for start in starts:
        resolved = start.resolve()
        for candidate in (resolved, *resolved.parents):
            if _is_source_tree(candidate):
                return candidate
    raise BoxliteError(
        "no BoxLite source tree here",
        hint="Change into a checkout, or set BOXLITE_SOURCE to one.",
    )


def _is_source_tree(path: Path) -> bool:
    return (path / "shim-rs").is_dir() and (path / "guest-kernel-config").is_dir()
