# SPDX-License-Identifier: Apache-2.0
"""Docker through its Python SDK, which speaks to the API as a program does.

Owns: the same steps as keyword arguments and API calls. The command does more
than the API (terminals, templates, tar on disk), and those cases are not for
the SDK; the flags it can say are in ``FLAGS``.
"""

import json
import threading
from collections.abc import Callable, Sequence
from typing import Any

from boxlite_runtime.conformance.case import Step
from boxlite_runtime.conformance.dotted import looked_up
from boxlite_runtime.conformance.engines.docker import STATE
from boxlite_runtime.conformance.engines.engine import (
    LABEL,
    REPOSITORY,
    TIMEOUT,
    Outcome,
    Unknown,
)
from boxlite_runtime.conformance.engines.sdk_flags import (
    EXEC,
    FLAGS,
    LOOKING,
    VERBS,
    keywords,
)
from boxlite_runtime.conformance.images import Archive


class DockerSdk:
    """One dockerd through the SDK, at ``host`` or where it looks by itself."""

    name = "docker-sdk"

    def __init__(self, host: str | None, run: str) -> None:
        self._host = host
        self._run = run
        self._clients = threading.local()

    @property
    def _client(self) -> Any:  # noqa: ANN401  (the SDK has no types)
        """The SDK's client of this thread; it is not made for several."""
        if not hasattr(self._clients, "client"):
            import docker  # noqa: PLC0415  (an extra, needed by this engine only)

            if self._host:
                self._clients.client = docker.DockerClient(self._host, timeout=TIMEOUT)
            else:
                self._clients.client = docker.from_env(timeout=TIMEOUT)
        return self._clients.client

    def missing(self) -> str | None:
        """Return why the SDK cannot be used, or ``None``."""
        try:
            self._client.ping()
        except ImportError:
            return (
                "docker-sdk: not installed (pip install 'boxlite-runtime[conformance]')"
            )
        except Exception as error:
            return f"docker-sdk: {error} (apt-get install docker.io, and start dockerd)"
        return None

    def version(self) -> str:
        """Return the versions of the SDK and of dockerd."""
        import docker  # noqa: PLC0415  (an extra, needed by this engine only)

        server = self._client.version()["Version"]
        return f"docker-py {docker.__version__}, Engine {server}"

    def known(self, runtime: str) -> str:
        """Return ``runtime`` if dockerd's configuration has it, else the shim's name."""
        if "." in runtime or runtime in self._client.info()["Runtimes"]:
            return runtime
        return f"io.containerd.{runtime}.v1"

    def load(self, name: str, archive: Archive) -> None:
        """Load an archive and keep it under a name of this run alone."""
        with archive.path.open("rb") as file:
            self._client.images.load(file)
        image = self._client.images.get(archive.reference)
        image.tag(f"{REPOSITORY}/{name}", self._run)
        self._client.images.remove(archive.reference)

    def lacks(self, step: Step) -> str | None:
        """Return the verb or flag the SDK has no word for."""
        if step.verb in LOOKING:
            return None
        if step.verb not in VERBS:
            return f"the SDK has no {step.verb} as the command has"
        if step.keys or step.stdin is not None:
            return "the SDK is not typed into"
        flags = step.flags if step.verb in {"run", "create", "exec"} else step.words
        try:
            keywords(flags, VERBS[step.verb])
        except Unknown as unknown:
            return f"the SDK's {step.verb} is not given {unknown}"
        return None

    def volume(self, name: str) -> None:
        """Make a volume with the run's label."""
        self._client.volumes.create(name, labels={LABEL: self._run})

    def network(self, name: str) -> None:
        """Make a network with the run's label."""
        self._client.networks.create(name, labels={LABEL: self._run})

    def do(self, step: Step, container: str, runtime: str) -> Outcome:
        """Do one step by calls; an answer that is an error is an exit of 125."""
        import docker  # noqa: PLC0415  (an extra, needed by this engine only)
        import requests  # noqa: PLC0415  (the SDK's own)

        try:
            return self._done(step, container, runtime)
        except docker.errors.APIError as refused:
            if step.verb == "state" and refused.status_code == 404:
                return Outcome(0, "absent\n")
            return Outcome(125, "", f"{refused.explanation}\n")
        except requests.exceptions.RequestException as late:
            return Outcome(-1, "", str(late))

    def _done(self, step: Step, container: str, runtime: str) -> Outcome:
        if step.verb in {"run", "create"}:
            return self._make(step, container, runtime)
        found = self._client.containers.get(container)
        return (self._exec if step.verb == "exec" else self._plain)(step, found)

    def _make(self, step: Step, container: str, runtime: str) -> Outcome:
        words = keywords(step.flags, FLAGS)
        detached = words.pop("detach", False) or step.verb == "create"
        words.setdefault("labels", {})[LABEL] = self._run
        image = f"{REPOSITORY}/{step.image}:{self._run}"
        made = self._client.containers.create(
            image, list(step.words) or None, name=container, runtime=runtime, **words
        )
        if step.verb == "create":
            return Outcome(0, f"{made.id}\n")
        made.start()
        if detached:
            return Outcome(0, f"{made.id}\n")
        code = made.wait(timeout=TIMEOUT)["StatusCode"]
        out, err = (made.logs(stdout=side, stderr=not side) for side in (True, False))
        if "--rm" in step.flags:
            made.remove(v=True)
        return Outcome(code, _text(out), _text(err))

    def _exec(self, step: Step, found: Any) -> Outcome:  # noqa: ANN401
        words = keywords(step.flags, EXEC)
        detached = words.pop("detach", False)
        code, output = found.exec_run(
            list(step.words), detach=detached, demux=not detached, **words
        )
        if detached:
            return Outcome(0)
        out, err = output
        return Outcome(code, _text(out), _text(err))

    def _plain(self, step: Step, found: Any) -> Outcome:  # noqa: ANN401
        if step.verb in LOOKING:
            paths = step.words or STATE
            return Outcome(0, "".join(f"{looked_up(found.attrs, p)}\n" for p in paths))
        words = keywords(step.words, VERBS[step.verb])
        if step.verb == "wait":
            return Outcome(0, f"{found.wait(timeout=TIMEOUT)['StatusCode']}\n")
        if step.verb == "logs":
            sides = (
                found.logs(stdout=side, stderr=not side, **words)
                for side in (True, False)
            )
            return Outcome(0, *map(_text, sides))
        if step.verb == "diff":
            return Outcome(0, f"{json.dumps(found.diff(), sort_keys=True)}\n")
        method = "remove" if step.verb == "rm" else step.verb
        getattr(found, method)(**words)
        return Outcome(0, f"{found.name}\n")

    def remove(
        self,
        containers: Sequence[str],
        volume: str | None,
        network: str | None,
        image: str | None,
    ) -> None:
        """Remove a unit's containers with their volumes, then the rest."""
        names = set(containers)
        for found in self._mine(self._run):
            if found.name in names:
                self._forget(found.remove, v=True, force=True)
        for name, kind in ((volume, "volumes"), (network, "networks")):
            if name:
                self._forget(getattr(self._client, kind).get(name).remove)

    def _mine(self, run: str) -> list[Any]:
        found: list[Any] = self._client.containers.list(
            all=True, filters={"label": f"{LABEL}={run}"}, ignore_removed=True
        )
        return found

    def _forget(self, call: Callable[..., Any], **words: Any) -> None:  # noqa: ANN401
        """Call a removal; what is gone already, or going, is as wanted."""
        import docker  # noqa: PLC0415  (an extra, needed by this engine only)

        try:
            call(**words)
        except docker.errors.APIError as error:
            if error.status_code not in {404, 409}:
                raise

    def sweep(self, run: str) -> None:
        """Remove everything that carries a run's label or name."""
        for found in self._mine(run):
            self._forget(found.remove, v=True, force=True)
        mine = {"label": f"{LABEL}={run}"}
        for kind in (self._client.volumes, self._client.networks):
            for made in kind.list(filters=mine):
                self._forget(made.remove)
        for tag in self._tags():
            if tag.rpartition(":")[2] == run:
                self._forget(self._client.images.remove, image=tag, force=True)

    def runs(self) -> set[str]:
        """Return the runs whose label or name something carries."""
        some = {"label": LABEL}
        found = self._client.containers.list(all=True, filters=some)
        runs = {c.labels.get(LABEL, "") for c in found}
        return (runs | {tag.rpartition(":")[2] for tag in self._tags()}) - {""}

    def _tags(self) -> list[str]:
        images = self._client.images.list(filters={"reference": f"{REPOSITORY}/*"})
        return [tag for image in images for tag in image.tags]


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode("utf-8", "replace")
