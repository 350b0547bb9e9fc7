# SPDX-License-Identifier: Apache-2.0
"""Checks of Docker and containerd, and of how they find the runtime."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from boxlite_runtime.doctor.finding import Finding, Level, parse_version
from boxlite_runtime.errors import BoxliteError
from boxlite_runtime.installer import containerd_config, daemons, docker_config
from boxlite_runtime.paths import SHIM_NAME, Layout
from boxlite_runtime.process import run

#: The first Docker that starts a containerd shim by name.
DOCKER_MINIMUM = (23,)
CONTAINERD_MINIMUM = (1, 7)

QUICKSTART = "install/quickstart"
INSTALL = "boxlite install"
START = "install/docker/start, or the host's init system"


@dataclass(frozen=True)
class DockerFacts:
    """What is known of Docker on a host. ``server`` is a running daemon's."""

    has_client: bool
    has_daemon: bool
    installed: str | None
    server: str | None
    cgroup_driver: str | None = None


def docker(_: Layout) -> Finding:
    """Say whether there is a Docker engine that can run shims."""
    has_daemon = shutil.which("dockerd") is not None
    client = shutil.which("docker") is not None
    installed = _answer(["dockerd", "--version"]) if has_daemon else None
    server = driver = None
    if client and daemons.dockerd_pid() is not None:
        template = "{{.ServerVersion}} {{.CgroupDriver}}"
        told = _answer(
            [
                "docker", "--host", f"unix://{daemons.DOCKER_SOCKET}",
                "info", "--format", template,
            ]
        )  # fmt: skip
        server, _space, driver = (told or "").partition(" ")
    version = _word_with_version(installed)
    return judge_docker(
        DockerFacts(client, has_daemon, version, server or None, driver or None)
    )


def judge_docker(facts: DockerFacts) -> Finding:
    """Judge what is known of Docker."""
    name = "docker"
    if not facts.has_daemon:
        says = "only a docker client is here, no engine" if facts.has_client else "none"
        return Finding(name, Level.NOTE, says, f"{QUICKSTART} installs one")
    version = facts.server or facts.installed
    if version is None:
        return Finding(name, Level.PROBLEM, "dockerd does not tell its version")
    if parse_version(version) < DOCKER_MINIMUM:
        return Finding(
            name,
            Level.PROBLEM,
            f"{version} cannot start a shim; 23 is the first that can",
            QUICKSTART,
        )
    if facts.server is None:
        return Finding(name, Level.NOTE, f"{version}, not running", START)
    says = f"{version}, runs with the {facts.cgroup_driver} cgroup driver"
    return Finding(name, Level.OK, says)


def docker_runtime(layout: Layout) -> Finding:
    """Say whether Docker knows the runtime, in its file and in fact."""
    try:
        text = layout.docker_config.read_text()
        configured = docker_config.has_runtime(text)
    except FileNotFoundError:
        configured = False
    except BoxliteError as error:
        return Finding(
            "docker runtime",
            Level.PROBLEM,
            error.message,
            f"edit {layout.docker_config}",
        )
    known: bool | None = None
    if daemons.dockerd_pid() is not None and shutil.which("docker"):
        try:
            known = docker_config.RUNTIME_NAME in daemons.docker_runtimes()
        except BoxliteError:
            # The check of Docker itself reports a daemon that does not answer.
            known = None
    return judge_docker_runtime(
        has_docker=shutil.which("dockerd") is not None,
        configured=configured,
        known=known,
    )


def judge_docker_runtime(
    *, has_docker: bool, configured: bool, known: bool | None
) -> Finding:
    """Judge the runtime's entry; ``known`` is the running daemon's view."""
    name = "docker runtime"
    if not has_docker:
        return Finding(name, Level.NOTE, "no Docker engine to tell")
    if not configured:
        return Finding(
            name, Level.PROBLEM, "daemon.json has no runtime boxlite", INSTALL
        )
    if known is False:
        return Finding(
            name,
            Level.PROBLEM,
            "dockerd has not read its daemon.json since boxlite was added",
            "kill -HUP $(cat /var/run/docker.pid)",
        )
    return Finding(name, Level.OK, "docker run --runtime boxlite")


def containerd(_: Layout) -> Finding:
    """Say whether containerd is there, runs, and is new enough."""
    version = _word_with_version(_answer(["containerd", "--version"]))
    return judge_containerd(version, running=daemons.containerd_pid() is not None)


def judge_containerd(version: str | None, *, running: bool) -> Finding:
    """Judge containerd by its version and by whether it runs."""
    name = "containerd"
    if version is None:
        return Finding(name, Level.PROBLEM, "none is installed", QUICKSTART)
    if parse_version(version) < CONTAINERD_MINIMUM:
        return Finding(name, Level.PROBLEM, f"{version} is older than 1.7", QUICKSTART)
    if not running:
        return Finding(name, Level.NOTE, f"{version}, not running", START)
    return Finding(name, Level.OK, f"{version}, runs")


def containerd_path(layout: Layout) -> Finding:
    """Say whether the running containerd finds the shim on its own PATH."""
    pid = daemons.containerd_pid()
    path: str | None = None
    if pid is not None:
        try:
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            variables = []
        found = [v[5:].decode() for v in variables if v.startswith(b"PATH=")]
        path = found[0] if found else None
    return judge_path(path, layout)


def judge_path(path: str | None, layout: Layout) -> Finding:
    """Judge containerd's PATH; ``None`` means that it cannot be read."""
    name = "containerd path"
    if path is None:
        return Finding(name, Level.NOTE, "containerd's PATH cannot be read", START)
    found = shutil.which(SHIM_NAME, path=path)
    if found is None and str(layout.shim.parent) in path.split(":"):
        return Finding(name, Level.PROBLEM, f"{layout.shim} is not there", INSTALL)
    if found is None:
        return Finding(
            name,
            Level.PROBLEM,
            f"containerd does not find {SHIM_NAME} on its PATH {path}",
            f"start containerd with {layout.shim.parent} on its PATH",
        )
    if Path(found).resolve() != layout.shim.resolve():
        return Finding(
            name,
            Level.PROBLEM,
            f"containerd finds another shim first: {found}",
            f"remove {found}",
        )
    return Finding(name, Level.OK, f"containerd finds {found}")


def kubernetes(layout: Layout) -> Finding:
    """Say whether CRI, and so Kubernetes, knows the runtime."""
    name = "kubernetes"
    try:
        known = containerd_config.has_runtime(layout.containerd_config.read_text())
    except FileNotFoundError:
        known = False
    except BoxliteError as error:
        return Finding(name, Level.PROBLEM, error.message, "correct config.toml")
    if not known:
        return Finding(
            name, Level.NOTE, "containerd's CRI has no runtime boxlite", INSTALL
        )
    return Finding(name, Level.OK, "containerd's CRI has the runtime boxlite")


def _answer(argv: list[str]) -> str | None:
    try:
        return run(argv, timeout=30).stdout.strip()
    except BoxliteError:
        return None


def _word_with_version(text: str | None) -> str | None:
    return next((w for w in (text or "").split() if parse_version(w)), None)
