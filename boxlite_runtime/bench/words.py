# SPDX-License-Identifier: Apache-2.0
"""The command lines that are timed, in the words of each engine.

Owns: starting once, keeping a container, executing in it, and its id. Does
not own: everything that is not timed; that is the conformance engines'.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from boxlite_runtime.conformance.engines.ctr import Ctr
from boxlite_runtime.conformance.engines.docker import Docker
from boxlite_runtime.conformance.engines.engine import LABEL, REPOSITORY, Engine
from boxlite_runtime.conformance.images import Archive

#: What keeps a container running until it is removed.
IDLE = ("sleep", "86400")


class Words(Protocol):
    """One engine's command lines. ``name`` is new with each container."""

    @property
    def engine(self) -> Engine:
        """Everything that is not timed."""

    def image(self, name: str, archive: Archive) -> str:
        """Return what a loaded image is called."""

    def once(
        self, runtime: str, image: str, name: str, words: Sequence[str]
    ) -> list[str]:
        """Return the command that starts a container, waits, and removes it."""

    def kept(
        self, runtime: str, image: str, name: str, flags: Sequence[str] = ()
    ) -> list[str]:
        """Return the command that leaves a container running."""

    def within(self, name: str, words: Sequence[str]) -> list[str]:
        """Return the command that executes in a container that runs."""

    def fed(self, name: str, words: Sequence[str]) -> list[str]:
        """Return the command that executes and passes its stdin on."""

    def ended(self, name: str) -> list[str]:
        """Return the command that ends a container and leaves its files."""

    def identity(self, name: str) -> str:
        """Return the id containerd has for a container, empty for none."""


class DockerWords:
    """``docker``, with what the timed commands need beside their own flags."""

    def __init__(
        self, host: str | None, run: str, scratch: Path, network: str | None = None
    ) -> None:
        self._docker = Docker(host, run)
        self._run = run
        self._scratch = scratch
        self._network = ["--network", network] if network else []

    @property
    def engine(self) -> Docker:
        """Everything that is not timed."""
        return self._docker

    def image(self, name: str, archive: Archive) -> str:
        """Return the name ``Docker.load`` gives an image."""
        return f"{REPOSITORY}/{name}:{self._run}"

    def once(
        self, runtime: str, image: str, name: str, words: Sequence[str]
    ) -> list[str]:
        """Return ``docker run --rm``. The label is what a sweep finds it by."""
        return self._docker.argv(
            "run", "--rm", "--runtime", runtime, *self._mine(name), image, *words
        )

    def kept(
        self, runtime: str, image: str, name: str, flags: Sequence[str] = ()
    ) -> list[str]:
        """Return ``docker run --detach``."""
        return self._docker.argv(
            "run", "--detach", "--runtime", runtime, "--name", name,
            *self._mine(name), *flags, image, *IDLE,
        )  # fmt: skip

    def _mine(self, name: str) -> list[str]:
        label = f"{LABEL}={self._run}"
        file = str(self._scratch / name)
        return ["--label", label, "--cidfile", file, *self._network]

    def within(self, name: str, words: Sequence[str]) -> list[str]:
        """Return ``docker exec``."""
        return self._docker.argv("exec", name, *words)

    def fed(self, name: str, words: Sequence[str]) -> list[str]:
        """Return ``docker exec --interactive``."""
        return self._docker.argv("exec", "--interactive", name, *words)

    def ended(self, name: str) -> list[str]:
        """Return ``docker kill``."""
        return self._docker.argv("kill", name)

    def identity(self, name: str) -> str:
        """Return what docker wrote down when it made the container."""
        try:
            return (self._scratch / name).read_text().strip()
        except FileNotFoundError:
            return ""


class CtrWords:
    """``ctr``: containerd without an engine around it, and without a network."""

    def __init__(self, address: str | None, run: str) -> None:
        self._ctr = Ctr(address, run)
        self._execs = itertools.count(1)

    @property
    def engine(self) -> Ctr:
        """Everything that is not timed."""
        return self._ctr

    def image(self, name: str, archive: Archive) -> str:
        """Return the name an image has after its import."""
        return f"docker.io/{archive.reference}"

    def once(
        self, runtime: str, image: str, name: str, words: Sequence[str]
    ) -> list[str]:
        """Return ``ctr run --rm``."""
        return self._ctr.argv("run", "--rm", "--runtime", runtime, image, name, *words)

    def kept(
        self, runtime: str, image: str, name: str, flags: Sequence[str] = ()
    ) -> list[str]:
        """Return ``ctr run --detach``."""
        return self._ctr.argv(
            "run", "--detach", "--runtime", runtime, *flags, image, name, *IDLE
        )

    def within(self, name: str, words: Sequence[str]) -> list[str]:
        """Return ``ctr task exec``."""
        number = f"e{next(self._execs)}"
        return self._ctr.argv("task", "exec", "--exec-id", number, name, *words)

    def fed(self, name: str, words: Sequence[str]) -> list[str]:
        """Return ``ctr task exec``, which passes its stdin on in any case."""
        return self.within(name, words)

    def ended(self, name: str) -> list[str]:
        """Return ``ctr task kill``."""
        return self._ctr.argv("task", "kill", "--signal", "KILL", name)

    def identity(self, name: str) -> str:
        """Return the name: with ctr it is the id."""
        return name
