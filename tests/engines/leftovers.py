# SPDX-License-Identifier: Apache-2.0
"""Looks for what containers left on the host after they were removed.

Owns: the list of kinds. Something left is a failure; ``sweep`` removes it
only when the pair is taken down, so that the next session starts clean.

Everything is told apart from other engines' by the pair's directory, its
network namespace, its mark in the environment, and the ids it has seen.
"""

import hashlib
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests.engines import command, processes
from tests.engines.pair import Pair
from tests.engines.processes import Process
from tests.engines.waiting import PAUSE, allowed

#: Seconds in which a runtime must be gone after its engine said so.
GRACE = 5.0

#: Network interfaces every namespace of a pair has.
OWN_LINKS = re.compile(r"lo|docker0|br-[0-9a-f]{12}|(tunl|sit|gre|ip6tnl|ifb)\d+")

#: Where containerd's helper library puts a shim's socket, for any engine.
SHIM_SOCKETS = Path("/run/containerd/s")


def look(pair: Pair) -> list[str]:
    """Return a line for each thing that is left of the pair's containers."""
    return [
        *_processes(pair),
        *_mounts(pair),
        *_links(pair),
        *_cgroups(pair),
        *_files(pair),
        *_sockets(pair),
    ]


def none_left(pair: Pair, seconds: float = GRACE) -> None:
    """Fail with the list of what is left, once ``seconds`` are over, and the logs.

    What one test was told of is not held against the next.
    """
    deadline = time.monotonic() + allowed(seconds)
    while left := set(look(pair)) - pair.reported:
        if time.monotonic() >= deadline:
            pair.reported.update(left)
            told = "\n".join(["left behind:", *sorted(left), pair.logs()])
            raise AssertionError(told)
        time.sleep(PAUSE)


def sweep(pair: Pair) -> None:
    """Remove what ``look`` has reported outside of the pair's directory."""
    for process in _own_processes(pair):
        process.signal(signal.SIGKILL)
    ours = [pair.run_directory.with_name(name) for name in _namespaces(pair)]
    for directory in ours:
        for point in reversed(processes.mount_points(directory)):
            command.run(["umount", "--lazy", point])
        shutil.rmtree(directory, ignore_errors=True)
    for cgroup in _own_cgroups(pair):
        # Still busy with a process that is about to die, it stays.
        with suppress(OSError):
            cgroup.rmdir()
    for socket in _own_sockets(pair):
        socket.unlink()


def _namespaces(pair: Pair) -> tuple[str, str]:
    """containerd's namespaces of the pair: Docker's and ctr's."""
    return pair.namespace, f"{pair.namespace}c"


def _own_processes(pair: Pair) -> list[Process]:
    daemons = {pair.containerd_pid, pair.dockerd_pid}
    found = {p.pid: p for p in processes.marked(pair.mark)}
    for text in (str(pair.run_directory), str(pair.directory / "state"), *pair.ids()):
        found.update({p.pid: p for p in processes.naming(text)})
    for name in _namespaces(pair):
        of_double = processes.doubles(pair.run_directory.with_name(name))
        found.update({p.pid: p for p in of_double})
    return [
        process
        for process in found.values()
        if process.pid not in daemons and processes.alive(process.pid)
    ]


def _processes(pair: Pair) -> Iterator[str]:
    for process in _own_processes(pair):
        yield f"process {process.pid}: {process.command[:200]}"


def _mounts(pair: Pair) -> Iterator[str]:
    for directory in (pair.directory, pair.run_directory):
        for point in processes.mount_points(directory):
            # dockerd's data root and its namespace of the host are its own.
            if point not in (
                pair.directory / "data",
                pair.directory / "exec/netns/default",
            ):
                yield f"mount {point}"


def _links(pair: Pair) -> Iterator[str]:
    for name in sorted(pair.network.links()):
        if not OWN_LINKS.fullmatch(name):
            yield f"network interface {name}"


def _own_cgroups(pair: Pair) -> list[Path]:
    ids = pair.ids()
    return [
        Path(directory)
        # os.walk passes over what vanishes meanwhile; inner ones come first.
        for directory, _, _ in os.walk("/sys/fs/cgroup", topdown=False)
        if any(known in directory for known in ids)
    ]


def _cgroups(pair: Pair) -> Iterator[str]:
    for name in sorted({cgroup.name for cgroup in _own_cgroups(pair)}):
        yield f"cgroup {name}"


def _files(pair: Pair) -> Iterator[str]:
    for name in _namespaces(pair):
        yield from _entries(pair.run_directory.with_name(name))
    for tasks in (pair.directory / "state").glob("*.task/*"):
        yield from _entries(tasks)
    # Not exec/netns: dockerd sweeps its empty files there once a minute.
    for part in ("runtime-runc/*", "containerd"):
        for directory in (pair.directory / "exec").glob(part):
            yield from _entries(directory)


def _entries(directory: Path) -> Iterator[str]:
    with suppress(FileNotFoundError):
        for entry in sorted(directory.iterdir()):
            yield f"file {entry}"


def _own_sockets(pair: Pair) -> Iterator[Path]:
    """Yield shim sockets, which containerd's library names by a digest."""
    for namespace in _namespaces(pair):
        for known in pair.ids():
            name = f"{pair.containerd_socket}/{namespace}/{known}"
            socket = SHIM_SOCKETS / hashlib.sha256(name.encode()).hexdigest()
            if socket.exists():
                yield socket


def _sockets(pair: Pair) -> Iterator[str]:
    for socket in _own_sockets(pair):
        yield f"socket {socket}"
