# SPDX-License-Identifier: Apache-2.0
"""One run of a benchmark at one engine.

Owns: the image, the runtimes that can be measured, timing a command, and
leaving nothing behind, however the run ends. Does not own: what is measured.

Call order: ``opened`` -> ``warm`` -> ``timed`` for each value, or ``keep`` and
``timed`` within -> the end of the block removes everything.
"""

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from boxlite_runtime import process
from boxlite_runtime.bench.host import facts
from boxlite_runtime.bench.words import CtrWords, DockerWords, Words
from boxlite_runtime.conformance.engines.engine import TIMEOUT
from boxlite_runtime.conformance.images import RECIPES, archive_of
from boxlite_runtime.conformance.session import alive, run_name
from boxlite_runtime.errors import BoxliteError, ExitCode
from boxlite_runtime.paths import host_layout
from boxlite_runtime.progress import step

#: How to get a runtime that is not there.
HOW_TO_GET = {
    "boxlite": "boxlite install",
    "runsc": "apt-get install runsc, and for Docker name it in /etc/docker/daemon.json:"
    ' "runtimes": {"runsc": {"path": "/usr/bin/runsc"}}',
}

#: The shortest command: what a start costs and nothing else.
NOTHING = ("true",)


@dataclass(frozen=True)
class Wanted:
    """What the command line asks for. ``also`` is measured where it is there."""

    runtime: str
    reference: str
    also: tuple[str, ...] = ()
    engine: str = "docker"
    host: str | None = None
    image: str = "busybox"
    network: str | None = None

    @property
    def names(self) -> list[str]:
        """The runtimes, the reference first, each once."""
        return list(dict.fromkeys([self.reference, self.runtime, *self.also]))


@dataclass
class Session:
    """A run under way.

    ``facts`` is what the host was like before; ``notes`` is what a reader has
    to know of the values.
    """

    wanted: Wanted
    words: Words
    image: str
    facts: dict[str, str]
    notes: list[str] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _known: dict[str, str] = field(default_factory=dict)

    def fresh(self) -> str:
        """Return a name that no container has yet."""
        # All of one length: none may be found where another is looked for.
        return f"bench-{run_name()}-{next(self._numbers):06}"

    def known(self, runtime: str) -> str:
        """Return what the engine calls a runtime."""
        if runtime not in self._known:
            self._known[runtime] = self.words.engine.known(runtime)
        return self._known[runtime]

    def once(self, runtime: str, name: str) -> list[str]:
        """Return the command that starts, waits for and removes a container."""
        return self.words.once(self.known(runtime), self.image, name, NOTHING)

    def warm(self) -> list[str]:
        """Start each runtime once, unmeasured; return those that can.

        One that was asked for beside the two compared ones and does not start
        is left out with a note. Raises ``BoxliteError`` for the two.
        """
        able = []
        for runtime in self.wanted.names:
            argv = self.once(runtime, self.fresh())
            done = process.run(argv, check=False, timeout=TIMEOUT)
            if done.returncode == 0:
                able.append(runtime)
                continue
            why = unable(runtime, done.stderr)
            if runtime not in self.wanted.also:
                raise BoxliteError(
                    why, hint=HOW_TO_GET.get(runtime), exit_code=ExitCode.HOST_UNFIT
                )
            cure = f" ({HOW_TO_GET[runtime]})" if runtime in HOW_TO_GET else ""
            self.notes.append(f"skipped: {why}{cure}")
        return able

    def keep(self, runtime: str, flags: Sequence[str] = ()) -> str:
        """Start a container that stays, and return its name."""
        name = self.fresh()
        argv = self.words.kept(self.known(runtime), self.image, name, flags)
        process.run(argv, timeout=TIMEOUT)
        return name

    def end(self, name: str) -> None:
        """End a container; its files stay until all is removed."""
        process.run(self.words.ended(name), timeout=TIMEOUT)

    def said(self, name: str, words: Sequence[str], timeout: float = TIMEOUT) -> str:
        """Execute in a container and return its stdout."""
        return process.run(self.words.within(name, words), timeout=timeout).stdout


def unable(runtime: str, stderr: str) -> str:
    """Return why a runtime does not start, in the engine's last own words."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    # docker ends with where to find its help, which is no reason.
    reasons = [
        line for line in lines if not line.startswith(("See 'docker", "Run 'docker"))
    ]
    return f"{runtime} starts nothing here: {(reasons or ['it does not say why'])[-1]}"


def timed(argv: Sequence[str]) -> float:
    """Run a command and return its seconds. Raises ``BoxliteError`` if it fails."""
    began = time.perf_counter()
    process.run(argv, timeout=TIMEOUT)
    return time.perf_counter() - began


WORDS: dict[str, Callable[[Wanted, str, Path], Words]] = {
    "docker": lambda w, run, scratch: DockerWords(w.host, run, scratch, w.network),
    "ctr": lambda w, run, _: CtrWords(w.host, run),
}


@contextmanager
def opened(wanted: Wanted) -> Iterator[Session]:
    """Make the image ready, and remove all that the run made at its end.

    Raises ``BoxliteError`` where the engine cannot be asked.
    """
    run = run_name()
    with tempfile.TemporaryDirectory(prefix="boxlite-bench-") as scratch:
        words = WORDS[wanted.engine](wanted, run, Path(scratch))
        engine = words.engine
        missing = engine.missing()
        if missing:
            raise BoxliteError(missing, exit_code=ExitCode.HOST_UNFIT)
        if wanted.host is None or not wanted.host.startswith(("tcp:", "ssh:")):
            # On another host it cannot be known whether a run still lives.
            for left in engine.runs():
                if not alive(left):
                    engine.sweep(left)
        about = facts(host_layout(), engine.version())
        try:
            yield Session(wanted, words, _image(wanted, words), about)
        finally:
            with step("removing what the run made"):
                engine.sweep(run)


def _image(wanted: Wanted, words: Words) -> str:
    """Return the image's name; the recipes' are made and loaded first."""
    if wanted.image not in RECIPES:
        if wanted.engine == "ctr":
            raise BoxliteError(
                f"{wanted.image} cannot be measured through ctr",
                hint=f"A run has a containerd namespace of its own: take one of"
                f" {', '.join(RECIPES)}.",
                exit_code=ExitCode.USAGE,
            )
        return wanted.image
    archive = archive_of(wanted.image, host_layout().build_cache)
    with step(f"loading the image {wanted.image}"):
        words.engine.load(wanted.image, archive)
    return words.image(wanted.image, archive)
