# SPDX-License-Identifier: Apache-2.0
"""Types docker commands at one engine pair.

Owns: the command line, a hard timeout on each command, and the removal of
what a test made. Does not own: what is asserted.

Containers made here carry no ``--rm`` of their own; a test asks for it.
``container`` runs one in the background and removes it afterwards.
"""

import json
import logging
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from tests.engines import command, images
from tests.engines.command import Result, Word
from tests.engines.pair import Pair

#: Keeps a container running and ends at once on SIGTERM.
IDLE = ("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 3600 & wait; done")

#: What runc 1.1 says once in some thousand starts, when its first process died
#: before it was told anything of the container: no word on what is compared.
RUNC_DIED = b"waiting for init preliminary setup: read init-p: connection reset"


class Docker:
    """One dockerd, through the docker command.

    ``runtime`` is passed to each new container.
    """

    def __init__(self, pair: Pair, runtime: str) -> None:
        self.pair = pair
        self.runtime = runtime
        docker = pair.programs.docker
        assert docker is not None
        self._docker: list[Word] = [docker, "--host", f"unix://{pair.docker_socket}"]

    def using(self, runtime: str) -> "Docker":
        """Return the same engine with another runtime for new containers."""
        return Docker(self.pair, runtime)

    def argv(self, *words: Word) -> list[Word]:
        """Return the command line of ``docker WORDS``."""
        return [*self._docker, *words]

    def __call__(
        self, *words: Word, stdin: bytes = b"", timeout: float = command.TIMEOUT
    ) -> Result:
        """Run ``docker WORDS`` to its end."""
        return command.run(self.argv(*words), stdin=stdin, timeout=timeout)

    def run(
        self,
        *words: Word,
        stdin: bytes = b"",
        timeout: float = command.TIMEOUT,
        runtime: str | None = None,
    ) -> Result:
        """Run ``docker run --runtime ... WORDS`` to its end."""
        runtime = runtime or self.runtime

        def attempt() -> Result:
            return self(
                "run", "--runtime", runtime, *words, stdin=stdin, timeout=timeout
            )

        result = attempt()
        if runtime == "runc" and RUNC_DIED in result.stderr:
            logging.warning("runc died of itself and is asked again: %s", result.errors)
            result = attempt()
        return result

    def sh(self, script: str, *options: Word, stdin: bytes = b"") -> Result:
        """Run a shell script in a container of its own with ``options``."""
        return self.run("--rm", *options, images.IMAGE, "sh", "-c", script, stdin=stdin)

    def exec(
        self, *words: Word, stdin: bytes = b"", timeout: float = command.TIMEOUT
    ) -> Result:
        """Run ``docker exec WORDS`` to its end."""
        return self("exec", *words, stdin=stdin, timeout=timeout)

    def background(
        self,
        *words: Word,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.PIPE,
    ) -> AbstractContextManager[subprocess.Popen[bytes]]:
        """Run ``docker WORDS`` for as long as a block lasts."""
        return command.background(self.argv(*words), stdin=stdin, stdout=stdout)

    @contextmanager
    def container(self, *options: Word, argv: tuple[Word, ...] = IDLE) -> Iterator[str]:
        """Run a container in the background; its id is yielded, it is removed."""
        with self.removal(self.start(*options, argv=argv)) as container:
            yield container

    def start(self, *options: Word, argv: tuple[Word, ...] = IDLE) -> str:
        """Start a container in the background and return its id."""
        return self.run("--detach", *options, images.IMAGE, *argv).ok().text

    @contextmanager
    def removal(self, container: str) -> Iterator[str]:
        """Remove a container and its anonymous volumes after the block."""
        try:
            yield container
        finally:
            self("rm", "--force", "--volumes", container)

    def inspect(self, name: str) -> dict[str, Any]:
        """Return what docker tells about a container."""
        (found,) = json.loads(self("container", "inspect", name).ok().stdout)
        assert isinstance(found, dict)
        return found

    def state(self, name: str) -> Mapping[str, Any]:
        """Return the State of ``docker inspect``."""
        state = self.inspect(name)["State"]
        assert isinstance(state, dict)
        return state

    def wait(self, name: str) -> int:
        """Wait for a container to end and return its exit code."""
        return int(self("wait", name).ok().text)

    def load_image(self) -> None:
        """Make the test image in this engine."""
        self(
            "import", "--change", 'CMD ["sh"]', "-", images.IMAGE,
            stdin=images.rootfs(),
        ).ok()  # fmt: skip

    def remove_everything(self) -> None:
        """Remove all containers; this engine has none that is not ours."""
        found = self("ps", "--all", "--quiet", "--no-trunc").ok().lines
        if found:
            self("rm", "--force", "--volumes", *found, timeout=120)
