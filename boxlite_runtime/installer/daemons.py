# SPDX-License-Identifier: Apache-2.0
"""The engines' daemons on this host: which run, and telling dockerd to reread.

Owns: finding a daemon's process and reloading dockerd. Does not own:
starting or restarting any (install/docker/start, systemd).
"""

import json
import os
import signal
import time
from pathlib import Path

from boxlite_runtime.errors import BoxliteError
from boxlite_runtime.installer.docker_config import RUNTIME_NAME
from boxlite_runtime.process import run

DOCKER_SOCKET = Path("/var/run/docker.sock")
DOCKER_PID_FILE = Path("/var/run/docker.pid")

#: Seconds dockerd gets to have reread its configuration.
RELOAD_DEADLINE = 10.0


def process_name(pid: int) -> str | None:
    """Return the name of a process, ``None`` if there is none or it is dead."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    return None if fields["State"].startswith("Z") else fields["Name"]


def processes_running(program: Path) -> list[int]:
    """Return the pids of the processes that run the file at ``program``.

    A file that was replaced since counts: its processes show the old path
    followed by " (deleted)".
    """
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            target = (entry / "exe").readlink()
        except OSError:
            # Ended meanwhile, or a kernel thread.
            continue
        if str(target).removesuffix(" (deleted)") == str(program):
            found.append(int(entry.name))
    return sorted(found)


def dockerd_pid() -> int | None:
    """Return the pid of the system's dockerd, ``None`` if it does not run.

    Others may run beside it with files of their own; those are not ours.
    """
    try:
        pid = int(DOCKER_PID_FILE.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return pid if process_name(pid) == "dockerd" else None


def containerd_pid(name: str = "containerd") -> int | None:
    """Return the pid of the system's containerd, ``None`` if it does not run.

    It is the one without a configuration of its own on its command line.
    """
    for entry in sorted(Path("/proc").glob("[0-9]*"), key=lambda p: int(p.name)):
        pid = int(entry.name)
        if process_name(pid) != name:
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if not any(
            w in {b"-c", b"--config"} or w.startswith(b"--config=") for w in words
        ):
            return pid
    return None


def docker_runtimes() -> set[str]:
    """Return the names of the runtimes the running dockerd knows."""
    # The socket by name: DOCKER_HOST may point somewhere else.
    answer = run(
        [
            "docker", "--host", f"unix://{DOCKER_SOCKET}",
            "info", "--format", "{{json .Runtimes}}",
        ],
        timeout=30,
    )  # fmt: skip
    return set(json.loads(answer.stdout))


def reload_docker(*, expect_runtime: bool) -> bool:
    """Make a running dockerd reread its runtimes; False if none runs.

    Returns once dockerd shows (or no longer shows) the runtime.
    """
    pid = dockerd_pid()
    if pid is None:
        return False
    os.kill(pid, signal.SIGHUP)
    deadline = time.monotonic() + RELOAD_DEADLINE
    while (RUNTIME_NAME in docker_runtimes()) != expect_runtime:
        if time.monotonic() >= deadline:
            raise BoxliteError(
                "dockerd did not take over the new daemon.json",
                hint="See dockerd's log, or restart it.",
            )
        time.sleep(0.1)
    return True
