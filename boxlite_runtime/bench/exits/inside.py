# SPDX-License-Identifier: Apache-2.0
"""What is done in a running container while its exits are counted.

Owns: the works with files, streams and a published port. Does not own: the
counting (``works``).

Many of a thing are done by one command, whose own exits are taken off: what is
left is divided by their number.
"""

import http.client
import io
import itertools
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from boxlite_runtime import process
from boxlite_runtime.bench.session import Session
from boxlite_runtime.conformance.case import Step
from boxlite_runtime.conformance.engines.engine import TIMEOUT
from boxlite_runtime.errors import BoxliteError

#: Files of 1 KiB that are unpacked, read and removed, and those of a directory.
FILES = 200
IN_DIRECTORY = 50
CONTENT = b"%01023d\n"
#: Seconds that one work with files may take; they are slow under emulation.
FILES_TIMEOUT = 600.0

#: MiB that are carried each way, by writes of what a pipe holds.
MIB = 8
WRITES = ("dd", "if=/dev/zero", "bs=64k", f"count={MIB * 16}", "status=none")
READS = ("wc", "-c")

#: Requests for a small file, each with a connection of its own.
REQUESTS = 20
PORT = 8080
SERVED = "index.html"

VOLUME = PurePosixPath("/bench-exits")
NEW = PurePosixPath("/bench-exits-new")


def nothing() -> None:
    """Prepare nothing."""


@dataclass(frozen=True)
class Work:
    """Something that is done ``amount`` times by ``act``.

    ``before`` is not counted. ``executes`` says that ``act`` executes one
    command in the container, whose own exits are taken off.
    """

    name: str
    amount: int
    act: Callable[[], object]
    before: Callable[[], object] = nothing
    executes: bool = True


class Files:
    """Unpacks, reads and removes files.

    What is read is on a volume and made by the host anew each time, so that no
    guest has met it; what is unpacked and removed is on the root filesystem.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self.flags = ["--volume", f"{scratch}:{VOLUME}"]

    def works(self, session: Session, name: str) -> list[Work]:
        """Return the works, in the order in which they have to be done."""
        with tarfile.open(self._scratch / "files.tar", "w") as tar:
            for number in range(FILES):
                entry = tarfile.TarInfo(_path(number))
                entry.size = len(CONTENT % number)
                tar.addfile(entry, io.BytesIO(CONTENT % number))
        unpacked, read, removed = (itertools.count() for _ in range(3))
        tree = 0

        def sh(script: str) -> None:
            session.said(name, ("sh", "-c", script), FILES_TIMEOUT)

        def plant() -> None:
            nonlocal tree
            tree = next(read)
            for number in range(FILES):
                file = self._scratch / f"tree{tree}" / _path(number)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(CONTENT % number)

        def untar() -> None:
            new = f"{NEW}{next(unpacked)}"
            sh(f"mkdir {new} && tar -xf {VOLUME}/files.tar -C {new}")

        def remove() -> None:
            old = f"{NEW}{next(removed)}"
            # The names first: some hosts' directories are not read rightly while
            # their files go, and that is not what is counted here.
            sh(f"rm {old}/*/* && rmdir {old}/* {old}")

        return [
            Work("file unpacked", FILES, untar),
            Work(
                "file read", FILES,
                lambda: sh(f"cat {VOLUME}/tree{tree}/*/* >/dev/null"), plant,
            ),
            Work("file removed", FILES, remove),
        ]  # fmt: skip


def _path(number: int) -> str:
    return f"{number // IN_DIRECTORY}/{number}"


class Streams:
    """Carries bytes out of a command and into one."""

    def __init__(self, session: Session, name: str) -> None:
        self._session = session
        self._name = name

    def works(self) -> list[Work]:
        """Return both ways."""
        return [
            Work("MiB to stdout", MIB, self._out),
            Work("MiB from stdin", MIB, self._into),
        ]

    def _out(self) -> None:
        said = self._session.said(self._name, WRITES)
        _carried(len(said))

    def _into(self) -> None:
        argv = self._session.words.fed(self._name, READS)
        done = process.run(argv, input="\0" * (MIB << 20), timeout=TIMEOUT)
        _carried(int(done.stdout))


def _carried(size: int) -> None:
    if size != MIB << 20:
        raise BoxliteError(f"of {MIB << 20} bytes, {size} arrived")


class Requests:
    """Asks a server in the container, through a port that the engine publishes."""

    flags = ("--publish", f"127.0.0.1::{PORT}")

    def works(self, session: Session, name: str) -> list[Work]:
        """Start the server and return what is asked of it."""
        script = (
            f"mkdir /www && echo served >/www/{SERVED}"
            # It listens before it goes into the background, where it would hold
            # the command's output open.
            f" && httpd -p {PORT} -h /www </dev/null >/dev/null 2>&1"
        )
        session.said(name, ("sh", "-c", script))
        port = Step("port", words=(f"{PORT}/tcp",))
        said = session.words.engine.do(port, name, session.wanted.runtime)
        published = said.stdout.strip().rpartition(":")[2]
        if said.exit != 0 or not published.isdigit():
            raise BoxliteError(f"the engine does not publish a port: {said.stderr}")
        return [
            Work("HTTP request", REQUESTS, lambda: ask(int(published)), executes=False)
        ]


def ask(port: int) -> None:
    """Ask for the file as often as is counted. Raises ``BoxliteError``."""
    for _ in range(REQUESTS):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        try:
            connection.request("GET", f"/{SERVED}")
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise BoxliteError(
                f"no answer through the published port {port}: {error}",
                hint="The engine must be on this host, and in its network.",
            ) from error
        finally:
            connection.close()
        if answer.status != http.client.OK or body != b"served\n":
            raise BoxliteError(f"the server in the container says {answer.status}")
