# SPDX-License-Identifier: Apache-2.0
"""Types ctr commands at one containerd.

Owns: the command line, names of containers, the removal of what a test made.
ctr hands the snapshot's mounts to the shim, where Docker mounts them itself.
"""

import itertools
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

from tests.engines import command, images
from tests.engines.command import Result, Word
from tests.engines.pair import Pair

#: Task service names by the short names the tests use.
RUNTIMES = {"runc": "io.containerd.runc.v2", "boxlite": "io.containerd.boxlite.v1"}

_serial = itertools.count(1)


def without_log(result: Result) -> Result:
    """Return a result whose stderr is the container's, without ctr's own log."""
    lines = result.stderr.splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith(b'time="')]
    return replace(result, stderr=b"".join(kept))


class Ctr:
    """One containerd, through its ctr, in a namespace of its own."""

    def __init__(self, pair: Pair, runtime: str) -> None:
        self.pair = pair
        self.runtime = runtime
        self.namespace = f"{pair.namespace}c"

    def using(self, runtime: str) -> "Ctr":
        """Return the same containerd with another runtime for new containers."""
        return Ctr(self.pair, runtime)

    def argv(self, *words: Word) -> list[Word]:
        """Return the command line of ``ctr WORDS``."""
        return [
            self.pair.programs.ctr,
            "--address", self.pair.containerd_socket,
            "--namespace", self.namespace,
            *words,
        ]  # fmt: skip

    def __call__(
        self, *words: Word, stdin: bytes = b"", timeout: float = command.TIMEOUT
    ) -> Result:
        """Run ``ctr WORDS`` to its end."""
        return command.run(self.argv(*words), stdin=stdin, timeout=timeout)

    def name(self) -> str:
        """Return a new container name, which no other pair of this host has."""
        name = f"{self.namespace}-{self.runtime}-{next(_serial)}"
        self.pair.names.add(name)
        return name

    def run_words(
        self, name: str, *words: Word, options: tuple[Word, ...]
    ) -> list[Word]:
        """Return the words of ``ctr run`` for the test image."""
        runtime = RUNTIMES.get(self.runtime, self.runtime)
        return ["run", "--runtime", runtime, *options, images.IMAGE, name, *words]

    def run(
        self,
        *words: Word,
        options: tuple[Word, ...] = (),
        stdin: bytes = b"",
        timeout: float = command.TIMEOUT,
    ) -> Result:
        """Run a container of the test image to its end and remove it."""
        words = tuple(self.run_words(self.name(), *words, options=("--rm", *options)))
        return without_log(self(*words, stdin=stdin, timeout=timeout))

    @contextmanager
    def container(self, *words: Word, options: tuple[Word, ...] = ()) -> Iterator[str]:
        """Run a container in the background; its name is yielded."""
        name = self.name()
        try:
            self(*self.run_words(name, *words, options=("--detach", *options))).ok()
            yield name
        finally:
            self.remove(name)

    def remove(self, name: str) -> None:
        """Kill and delete a container, whatever of it there is."""
        self("task", "kill", "--signal", "KILL", name)
        self("task", "delete", "--force", name)
        self("container", "delete", name)

    def background(
        self, *words: Word, stdin: int = subprocess.DEVNULL
    ) -> AbstractContextManager[subprocess.Popen[bytes]]:
        """Run ``ctr WORDS`` for as long as a block lasts."""
        return command.background(self.argv(*words), stdin=stdin)

    def tasks(self) -> dict[str, tuple[int, str]]:
        """Return pid and status of each task by its container's name."""
        rows = [line.split() for line in self("task", "list").ok().lines[1:]]
        return {row[0]: (int(row[1]), row[2]) for row in rows}

    def load_image(self) -> None:
        """Make the test image in this containerd."""
        self("image", "import", "-", stdin=images.oci_archive()).ok()

    def remove_everything(self) -> None:
        """Remove all containers; this namespace has none that is not ours."""
        for name in self("container", "list", "--quiet").ok().lines:
            self.remove(name)
