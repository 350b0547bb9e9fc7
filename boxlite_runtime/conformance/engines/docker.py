# SPDX-License-Identifier: Apache-2.0
"""Docker, through its command.

Owns: the words of ``docker``. Every flag and verb of the cases is Docker's
own, so that nothing is translated here.
"""

import json
from collections.abc import Sequence

from boxlite_runtime import process
from boxlite_runtime.conformance import terminal
from boxlite_runtime.conformance.case import Step
from boxlite_runtime.conformance.dotted import looked_up
from boxlite_runtime.conformance.engines.engine import (
    LABEL,
    REPOSITORY,
    TIMEOUT,
    Outcome,
    lines,
)
from boxlite_runtime.conformance.images import Archive
from boxlite_runtime.errors import BoxliteError

#: Verbs whose words name the container themselves.
SPELT_OUT = {"cp", "commit", "rename", "events", "engine"}
#: Verbs that take the container first and words after it.
CONTAINER_FIRST = {"top", "port"}

#: What of a container's state is the same whenever it is looked at.
STATE = (
    "State.Status", "State.ExitCode", "State.OOMKilled", "State.Dead",
    "State.Paused", "State.Restarting",
)  # fmt: skip


class Docker:
    """One dockerd, at ``host`` or where the command looks by itself."""

    name = "docker"
    program = "docker"
    how_to_get_it = "apt-get install docker.io, and start dockerd"

    def __init__(self, host: str | None, run: str) -> None:
        self._run = run
        self._before: list[str] = ["--host", host] if host else []
        self._runtimes: dict[str, str] = {}

    def call(
        self, *words: str, input: str | None = None, timeout: float = TIMEOUT
    ) -> Outcome:
        """Run ``docker WORDS`` to its end, whatever it is."""
        try:
            done = process.run(
                self.argv(*words), input=input, check=False, timeout=timeout
            )
        except BoxliteError as late:
            return Outcome(-1, "", late.message)
        return Outcome(done.returncode, done.stdout, done.stderr)

    def argv(self, *words: str) -> list[str]:
        """Return the command line of ``docker WORDS``."""
        return [self.program, *self._before, *words]

    def missing(self) -> str | None:
        """Return why no dockerd can be asked, or ``None``."""
        said = self.call("version", "--format", "{{.Server.Version}}", timeout=30)
        if said.exit == 0:
            return None
        reason = (lines(said.stderr) or ["no answer"])[-1]
        return f"{self.name}: {reason} ({self.how_to_get_it})"

    def version(self) -> str:
        """Return the versions of dockerd and of what it stands on."""
        answer = self.call("version", "--format", "{{json .Server}}")
        server = json.loads(answer.stdout)
        parts = [f"{c['Name']} {c['Version']}" for c in server.get("Components", [])]
        return ", ".join(parts) or f"{self.name} {server.get('Version', '')}"

    def known(self, runtime: str) -> str:
        """Return ``runtime`` if dockerd's configuration has it, else the shim's name."""
        listed = json.loads(
            self.call("info", "--format", "{{json .Runtimes}}").stdout or "{}"
        )
        if runtime in listed or "." in runtime:
            return runtime
        return f"io.containerd.{runtime}.v1"

    def load(self, name: str, archive: Archive) -> None:
        """Load an archive and keep it under a name of this run alone."""
        process.run(self.argv("load", "--input", str(archive.path)))
        process.run(self.argv("tag", archive.reference, self._image(name)))
        # The image stays while a run has a name for it.
        self.call("rmi", archive.reference)

    def _image(self, name: str) -> str:
        return f"{REPOSITORY}/{name}:{self._run}"

    def lacks(self, step: Step) -> str | None:
        """Docker lacks nothing."""
        return None

    def volume(self, name: str) -> None:
        """Make a volume with the run's label."""
        process.run(self.argv("volume", "create", "--label", self._label(), name))

    def network(self, name: str) -> None:
        """Make a bridge network with the run's label."""
        process.run(self.argv("network", "create", "--label", self._label(), name))

    def _label(self) -> str:
        return f"{LABEL}={self._run}"

    def do(self, step: Step, container: str, runtime: str) -> Outcome:
        """Type one step, at a terminal where something is typed into it."""
        if step.verb in {"inspect", "state"}:
            return self._inspect(step.words or STATE, container, step.verb)
        words = self._words(step, container, runtime)
        if step.keys:
            return terminal.converse(self.argv(*words), step.keys)
        return self.call(*words, input=step.stdin)

    def _words(self, step: Step, container: str, runtime: str) -> list[str]:
        if step.verb in {"run", "create"}:
            return [
                step.verb, "--runtime", runtime, "--name", container,
                "--label", self._label(), *step.flags, self._image(step.image),
                *step.words,
            ]  # fmt: skip
        if step.verb == "exec":
            return ["exec", *step.flags, container, *step.words]
        if step.verb == "engine":
            return list(step.words)
        if step.verb in SPELT_OUT:
            return [step.verb, *step.words]
        if step.verb in CONTAINER_FIRST:
            return [step.verb, container, *step.words]
        return [step.verb, *step.words, container]

    def _inspect(self, paths: Sequence[str], container: str, verb: str) -> Outcome:
        said = self.call("container", "inspect", container)
        if said.exit != 0:
            # After a run that made no container there is no state; that is one.
            return Outcome(0, "absent\n") if verb == "state" else said
        document = json.loads(said.stdout)[0]
        return Outcome(0, "".join(f"{looked_up(document, p)}\n" for p in paths))

    def remove(
        self,
        containers: Sequence[str],
        volume: str | None,
        network: str | None,
        image: str | None,
    ) -> None:
        """Remove a unit's containers with their volumes, then the rest."""
        if containers:
            self.call("rm", "--force", "--volumes", *containers)
        if volume:
            self.call("volume", "rm", "--force", volume)
        if network:
            self.call("network", "rm", network)
        if image:
            self.call("rmi", "--force", image)

    def sweep(self, run: str) -> None:
        """Remove everything that carries a run's label or name."""
        mine = ["--quiet", "--filter", f"label={LABEL}={run}"]
        for listing, removal in (
            (["ps", "--all", *mine], ["rm", "--force", "--volumes"]),
            (["volume", "ls", *mine], ["volume", "rm", "--force"]),
            (["network", "ls", *mine], ["network", "rm"]),
        ):
            found = lines(self.call(*listing).stdout)
            if found:
                self.call(*removal, *found)
        names = [name for name in self._images() if name.partition(":")[2] == run
                 or name.partition(":")[2].startswith(f"{run}-")]  # fmt: skip
        if names:
            self.call("rmi", "--force", *names)

    def runs(self) -> set[str]:
        """Return the runs whose label or name something carries."""
        label = f'{{{{.Label "{LABEL}"}}}}'
        found: set[str] = set()
        for listing in (["ps", "--all"], ["volume", "ls"], ["network", "ls"]):
            said = self.call(*listing, "--filter", f"label={LABEL}", "--format", label)
            found |= set(lines(said.stdout))
        tags = (name.partition(":")[2] for name in self._images())
        return found | {tag.partition("-")[0] for tag in tags}

    def _images(self) -> list[str]:
        said = self.call(
            "images", "--filter", f"reference={REPOSITORY}/*",
            "--format", "{{.Repository}}:{{.Tag}}",
        )  # fmt: skip
        return lines(said.stdout)
