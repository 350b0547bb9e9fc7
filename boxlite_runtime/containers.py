# SPDX-License-Identifier: Apache-2.0
"""Running containers: which one a person means, and what runs in it.

Owns: the search by name, id or the beginning of an id, and the question to
the shim. Does not own: engines; Docker alone is asked what a name stands for,
other names are ids of containerd's.

Call order: ``find``, then ``processes`` with what it returned.
"""

import json
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from boxlite_runtime.errors import BoxliteError
from boxlite_runtime.paths import Layout
from boxlite_runtime.process import run
from boxlite_runtime.shim import another_release, must_have_worked

#: Seconds for Docker to say what a name stands for.
DOCKER_TIMEOUT = 10.0
#: Seconds for the shim, which gives up on the guest before.
SHIM_TIMEOUT = 30.0


@dataclass(frozen=True)
class Container:
    """A container whose shim runs."""

    namespace: str
    id: str
    #: What its shim keeps of it.
    directory: Path


@dataclass(frozen=True)
class Process:
    """One process, in the container's numbers; parent 0 is outside of it."""

    pid: int
    parent: int
    uid: int
    command: str


@dataclass(frozen=True)
class _Known:
    """What Docker knows of a container."""

    id: str
    status: str
    runtime: str


def find(layout: Layout, name: str, namespace: str | None = None) -> Container:
    """Return the running container that ``name`` means.

    An id, or what one id alone begins with; without ``namespace`` also a name
    that Docker knows. Raises ``BoxliteError`` with what to do.
    """
    running = list(_running(layout, namespace))
    exact = [container for container in running if container.id == name]
    if len(exact) == 1:
        return exact[0]
    if exact:
        spaces = ", ".join(sorted(container.namespace for container in exact))
        raise BoxliteError(f"{name} runs in {spaces}", hint="Say --namespace.")
    known = _docker(name) if namespace is None else None
    if known is not None:
        return _of_docker(name, known, running)
    fitting = [
        container for container in running if name and container.id.startswith(name)
    ]
    if len(fitting) > 1:
        raise BoxliteError(
            f"several containers begin with {name}",
            hint="Say more of the id: " + ", ".join(c.id for c in fitting),
        )
    if not fitting:
        raise _not_found(name, namespace)
    return fitting[0]


def processes(layout: Layout, container: Container) -> list[Process]:
    """Return what runs in a container, by its guest's word."""
    argv: list[str | Path] = [layout.shim, "ps", container.directory]
    done = run(argv, check=False, timeout=SHIM_TIMEOUT)
    must_have_worked(done, hint="The engine's log has what the shim says of it.")
    try:
        return [Process(**described) for described in json.loads(done.stdout)]
    except (TypeError, ValueError) as error:
        raise another_release("processes") from error


def _running(layout: Layout, namespace: str | None) -> Iterator[Container]:
    """Yield the containers with a run directory, of one namespace or of all."""
    for record in sorted(_run_directory(layout).glob("*/*/record.json")):
        directory = record.parent
        found = Container(directory.parent.name, directory.name, directory)
        if namespace in (None, found.namespace):
            yield found


def _run_directory(layout: Layout) -> Path:
    try:
        paths = tomllib.loads(layout.config.read_text()).get("paths", {})
    except FileNotFoundError:
        paths = {}
    except tomllib.TOMLDecodeError as error:
        raise BoxliteError(
            f"{layout.config} cannot be read: {error}", hint="boxlite doctor"
        ) from error
    return layout.at(Path(paths["run"])) if "run" in paths else layout.run_dir


def _docker(name: str) -> _Known | None:
    """Return what Docker knows of a name; ``None`` where it knows nothing."""
    if shutil.which("docker") is None:
        return None
    template = "{{.Id}} {{.State.Status}} {{.HostConfig.Runtime}}"
    argv = [
        "docker", "container", "inspect", "--format", template, "--", name,
    ]  # fmt: skip
    done = run(argv, check=False, timeout=DOCKER_TIMEOUT)
    words = done.stdout.split()
    # Without an engine there is no container of Docker's.
    return _Known(*words) if done.returncode == 0 and len(words) == 3 else None


def _of_docker(name: str, known: _Known, running: list[Container]) -> Container:
    for container in running:
        if container.id == known.id:
            return container
    if known.status not in ("running", "paused", "restarting"):
        raise BoxliteError(
            f"container {name} is not running: it is {known.status}",
            hint=f"docker start {name}",
        )
    raise BoxliteError(
        f"container {name} does not run in a machine: its runtime is {known.runtime}",
        hint=f"docker top {name} shows its processes.",
    )


def _not_found(name: str, namespace: str | None) -> BoxliteError:
    if namespace is None:
        return BoxliteError(
            f"no BoxLite container {name} is running",
            hint="docker ps, or ctr --namespace NAMESPACE task list, shows what is.",
        )
    return BoxliteError(
        f"no BoxLite container {name} is running in the namespace {namespace}",
        hint=f"ctr --namespace {namespace} task list shows what is.",
    )
