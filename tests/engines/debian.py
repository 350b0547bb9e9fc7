# SPDX-License-Identifier: Apache-2.0
"""Packages of a suite of Debian, unpacked into a directory and not installed.

Owns: an apt state of its own for one suite. Does not own: which packages, nor where
what they hold is kept. Nothing here changes the system.

Call order: ``Suite(name, state)`` reads the suite's lists -> ``depends`` where a
package only names another -> ``unpack``.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.engines import command
from tests.engines.command import Result, Word
from tests.engines.programs import Unavailable

#: Seconds a download or a build may take.
TIMEOUT = 1200.0


class Suite:
    """One suite; ``state`` is a directory for lists and downloads alone."""

    def __init__(self, name: str, state: Path) -> None:
        if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
            raise Unavailable("no apt-get and dpkg; use a Debian or Ubuntu host")
        lists, self._archives = state / "lists", state / "archives"
        for directory in (lists, self._archives):
            (directory / "partial").mkdir(parents=True)
        sources = state / "sources.list"
        trust = "signed-by=/usr/share/keyrings/debian-archive-keyring.gpg"
        sources.write_text(f"deb [{trust}] http://deb.debian.org/debian {name} main\n")
        self._options = [
            option
            for setting in (
                f"Dir::State::lists={lists}",
                f"Dir::Cache::archives={self._archives}",
                f"Dir::Cache::pkgcache={state}/pkgcache.bin",
                f"Dir::Cache::srcpkgcache={state}/srcpkgcache.bin",
                f"Dir::Etc::sourcelist={sources}",
                "Dir::Etc::sourceparts=/dev/null",
                "Dir::Etc::preferencesparts=/dev/null",
                # The downloads are root's; apt's own user may not enter a cache.
                "APT::Sandbox::User=root",
                # Otherwise an update without a network warns and succeeds.
                "APT::Update::Error-Mode=any",
                # A mirror that is weeks behind has engines that do as well.
                "Acquire::Check-Valid-Until=false",
            )
            for option in ("-o", setting)
        ]
        run("apt-get", *self._options, "update")

    def depends(self, package: str) -> list[str]:
        """Return the packages that a package depends on."""
        lines = run("apt-cache", *self._options, "depends", package).lines
        parts = (line.partition("Depends: ") for line in lines)
        return [name for before, found, name in parts if found and not before.strip()]

    def unpack(self, packages: Sequence[str], into: Path) -> None:
        """Put what packages hold below a directory; not what they depend on."""
        # `download` writes to the working directory.
        there = ("env", "-C", self._archives)
        run(*there, "apt-get", *self._options, "download", *packages)
        for package in packages:
            (archive,) = self._archives.glob(f"{package}_*.deb")
            run("dpkg", "-x", archive, into)
            archive.unlink()


def run(*argv: Word, env: dict[str, str] | None = None) -> Result:
    """Run a program that asks the network; its failure makes a thing unavailable."""
    result = command.run(argv, timeout=TIMEOUT, env=env)
    if result.code != 0:
        raise Unavailable(f"{result.argv[0]} failed:\n{result.errors[-2000:]}")
    return result


def empty(root: Path) -> Path:
    """Return the place where ``root`` is put together; nothing is there."""
    part = root.with_name(f"{root.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    root.parent.mkdir(parents=True, exist_ok=True)
    return part
