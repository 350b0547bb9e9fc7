# SPDX-License-Identifier: Apache-2.0
"""Brings one engine pair up beside whatever else runs, and takes it down.

Owns: the directory, network namespace, processes and mounts of the pair.
Does not own: the containers in it (``docker``, ``ctr``).

Order: namespace -> containerd -> dockerd -> (tests) -> dockerd -> shims that
outlived their containers -> containerd -> mounts -> directory -> namespace.
Everything is stopped by pid. The daemons die with the test process, so a
killed run leaves files behind at worst, never a running engine.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from boxlite_runtime.paths import host_layout
from tests.engines import command, processes, settings
from tests.engines.command import Word
from tests.engines.netns import NetworkNamespace, network_namespace
from tests.engines.programs import Programs
from tests.engines.waiting import allowed, until

#: In the environment of containerd, and so of every shim and what it starts.
MARK = "BOXLITE_TEST_ENGINE"

#: Seconds for a daemon to answer, and to end.
START_TIMEOUT = 30.0
STOP_TIMEOUT = 30.0


@dataclass(frozen=True)
class Pair:
    """A running containerd, and dockerd where the pair has one."""

    programs: Programs
    directory: Path
    #: containerd's namespace for Docker, and the stem of ctr's.
    namespace: str
    network: NetworkNamespace
    containerd_pid: int
    dockerd_pid: int | None
    #: Names of ctr's containers; Docker's are in the file of its events.
    names: set[str] = field(default_factory=set)
    #: What has been found left behind and was reported.
    reported: set[str] = field(default_factory=set)

    @property
    def containerd_socket(self) -> Path:
        """Where containerd listens."""
        return self.directory / "containerd.sock"

    @property
    def docker_socket(self) -> Path:
        """Where dockerd listens."""
        return self.directory / "docker.sock"

    @property
    def mark(self) -> str:
        """The environment entry that tells this pair's processes apart."""
        return f"{MARK}={self.directory}"

    @property
    def run_directory(self) -> Path:
        """The shim's run state for Docker's containers."""
        return host_layout().run_dir / self.namespace

    @property
    def templates(self) -> Path:
        """Where the templates of the runtime boxlite-templates lie."""
        return self.directory / "templates"

    @property
    def templates_config(self) -> Path:
        """The configuration of the runtime boxlite-templates."""
        return self.directory / "config" / f"{settings.TEMPLATES}.toml"

    def ids(self) -> set[str]:
        """Return the id of every container there has ever been in this pair."""
        created = self.directory / "created"
        return self.names | set(created.read_text().split() if self.dockerd_pid else ())

    def logs(self) -> str:
        """Return the ends of the daemons' logs, for a failure to show."""
        return "".join(
            f"--- {log.name}\n" + "".join(log.read_text().splitlines(True)[-40:])
            for log in sorted(self.directory.glob("*.log"))
        )


@dataclass(frozen=True)
class _Ground:
    """Where a pair is about to run."""

    programs: Programs
    directory: Path
    network: NetworkNamespace

    @property
    def environment(self) -> dict[str, str]:
        """What the daemons get; containerd looks for shims on its PATH."""
        path = (host_layout().shim.parent, *self.programs.path)
        return {
            "PATH": os.pathsep.join(map(str, path)),
            MARK: str(self.directory),
        }


@contextmanager
def running(programs: Programs, *, config: Path, store: str = "") -> Iterator[Pair]:
    """Run a pair for as long as the block lasts.

    ``config`` is the shim configuration that the runtime boxlite uses, ``store``
    one of ``settings.STORES``.
    """
    name = f"bx{os.getpid()}{programs.name[:2]}"
    with ExitStack() as stack:
        # Short: a socket's path may be 107 bytes, and Docker ids take 64.
        directory = Path(tempfile.mkdtemp(prefix=f"{name}.", dir="/tmp"))
        stack.callback(_remove, directory)
        network = stack.enter_context(network_namespace(name))
        ground = _Ground(programs, directory, network)
        stack.callback(_end_marked, f"{MARK}={directory}")
        containerd = _start_containerd(ground)
        stack.callback(_stop, containerd)
        dockerd = None
        if programs.dockerd is not None:
            dockerd = _start_dockerd(ground, name, config, store)
            stack.callback(_stop, dockerd)
            stack.callback(_stop, _follow_creations(ground))
        yield Pair(
            programs,
            directory,
            name,
            network,
            containerd.pid,
            dockerd.pid if dockerd else None,
        )


def _start_containerd(ground: _Ground) -> subprocess.Popen[bytes]:
    directory = ground.directory
    socket = directory / "containerd.sock"
    file = directory / "containerd.toml"
    file.write_text(
        settings.containerd(directory / "containerd", directory / "state", socket)
    )
    daemon = _daemon(
        [*ground.network.argv(), ground.programs.containerd, "--config", file],
        directory / "containerd.log",
        ground.environment,
    )
    ctr = ground.programs.ctr
    _answers(
        daemon,
        [ctr, "--address", socket, "--timeout", "2s", "version"],
        socket,
        directory / "containerd.log",
    )
    return daemon


def _start_dockerd(
    ground: _Ground, namespace: str, config: Path, store: str
) -> subprocess.Popen[bytes]:
    dockerd = ground.programs.dockerd
    assert dockerd is not None
    directory = ground.directory
    configs = directory / "config"
    configs.mkdir()
    texts = settings.boxlite_configs(config, directory / "templates")
    for name, text in texts.items():
        (configs / f"{name}.toml").write_text(text)
    file = directory / "daemon.json"
    file.write_text(
        settings.dockerd(
            directory,
            containerd=directory / "containerd.sock",
            namespace=namespace,
            config=configs,
            store=store,
        )
    )
    daemon = _daemon(
        [*ground.network.argv(), dockerd, "--config-file", file],
        directory / "dockerd.log",
        ground.environment,
    )
    _answers(
        daemon,
        _docker(ground, "version"),
        directory / "docker.sock",
        directory / "dockerd.log",
    )
    return daemon


def _docker(ground: _Ground, *words: str) -> list[Word]:
    assert ground.programs.docker is not None
    host = f"unix://{ground.directory}/docker.sock"
    return [ground.programs.docker, "--host", host, *words]


def _follow_creations(ground: _Ground) -> subprocess.Popen[bytes]:
    """Write the id of each container to a file, as dockerd makes them."""
    filters = ("--filter", "type=container", "--filter", "event=create")
    return _daemon(
        _docker(ground, "events", *filters, "--format", "{{.Actor.ID}}"),
        ground.directory / "created",
        {},
    )


def _daemon(
    argv: Sequence[Word], log: Path, environment: dict[str, str]
) -> subprocess.Popen[bytes]:
    """Start a daemon in a session of its own that ends when this process does."""
    with log.open("wb") as output:
        return subprocess.Popen(
            [
                "setpriv",
                "--pdeathsig",
                "TERM",
                "--",
                *(os.fspath(word) for word in argv),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **environment},
            start_new_session=True,
        )


def _answers(
    daemon: subprocess.Popen[bytes],
    argv: Sequence[Word],
    socket: Path,
    log: Path,
) -> None:
    def ready() -> bool:
        if daemon.poll() is not None:
            tail = "\n".join(log.read_text().splitlines()[-20:])
            raise AssertionError(f"{log.stem} ended with {daemon.returncode}:\n{tail}")
        return socket.exists() and command.run(argv, timeout=10).code == 0

    until(f"{log.stem} answers", ready, START_TIMEOUT)


def _stop(daemon: subprocess.Popen[bytes]) -> None:
    daemon.terminate()
    try:
        daemon.wait(allowed(STOP_TIMEOUT))
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def _end_marked(mark: str) -> None:
    """Kill what containerd's shims left running; called after containerd."""
    for process in processes.marked(mark):
        process.signal(signal.SIGKILL)


def _remove(directory: Path) -> None:
    """Unmount what is still mounted below ``directory``, then delete it."""
    for point in reversed(processes.mount_points(directory)):
        command.run(["umount", "--lazy", point])
    shutil.rmtree(directory)
