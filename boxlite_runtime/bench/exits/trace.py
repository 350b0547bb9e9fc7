# SPDX-License-Identifier: Apache-2.0
"""Has the kernel count KVM's events.

Owns: an instance of the kernel's tracing of its own, so that whoever traces on
this host is not disturbed, and its removal, however the run ends. Does not
own: which events (``counts``).

Call order: ``tracing`` -> ``Trace.clear`` -> what is counted -> ``Trace.counts``.
"""

import os
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from boxlite_runtime.bench.exits import histogram
from boxlite_runtime.bench.exits.counts import EVENTS, Counts, Event, of
from boxlite_runtime.conformance.session import alive, run_name
from boxlite_runtime.errors import BoxliteError, ExitCode

#: How the name of an instance begins; the run follows.
PREFIX = "boxlite-"
DEVICE = Path("/dev/kvm")
MOUNTS = Path("/proc/self/mounts")


@dataclass(frozen=True)
class Trace:
    """An instance whose histograms fill."""

    directory: Path

    def file(self, event: Event, name: str) -> Path:
        """Return a file of an event."""
        return self.directory / "events" / "kvm" / event.name / name

    def clear(self) -> None:
        """Begin to count anew."""
        for event in EVENTS:
            _order(self.file(event, "trigger"), f"{event.trigger}:clear")

    def counts(self, threads: Set[int]) -> Counts:
        """Return what the threads of a machine have done since ``clear``."""
        found: dict[str, float] = {}
        for event in EVENTS:
            entries = histogram.entries(self.file(event, "hist").read_text())
            found |= of(event, entries, threads)
        return found


@contextmanager
def tracing(tracefs: Path | None = None) -> Iterator[Trace]:
    """Count for as long as the block lasts.

    Raises ``BoxliteError`` where this host cannot, with what it lacks.
    """
    place = tracefs or found(MOUNTS.read_text())
    _fit(place)
    instances = place / "instances"
    for left in instances.glob(f"{PREFIX}*"):
        # Of a run that was killed.
        if not alive(left.name.removeprefix(PREFIX)):
            _remove(left)
    trace = Trace(instances / f"{PREFIX}{run_name()}")
    try:
        _make(trace.directory)
        for event in EVENTS:
            _order(trace.file(event, "trigger"), event.trigger)
        yield trace
    finally:
        if trace.directory.exists():
            _remove(trace.directory)


def found(mounts: str) -> Path:
    """Return where the kernel's tracing is mounted, by /proc/self/mounts."""
    for line in mounts.splitlines():
        _, point, kind, *_ = line.split()
        if kind == "tracefs":
            return Path(point)
    raise _unfit(
        "the kernel's tracing is not mounted",
        "mount -t tracefs tracefs /sys/kernel/tracing",
    )


def _fit(tracefs: Path) -> None:
    """Raise what this host lacks."""
    events = tracefs / "events" / "kvm"
    if not DEVICE.exists():
        raise _unfit(
            "there is no /dev/kvm on this host, and exits are KVM's",
            "boxlite doctor says with what machines run.",
        )
    if os.geteuid() != 0:
        raise _unfit("only root may count exits", "Run it as root.")
    if not events.is_dir():
        raise _unfit(
            f"the kernel's tracing knows no events of KVM: no {events}",
            "modprobe kvm_amd, or kvm_intel; in a container, run it on the host.",
        )
    for event in EVENTS:
        if not (events / event.name / "hist").exists():
            raise _unfit(
                f"this kernel keeps no histogram of {event.name}",
                "It must be built with CONFIG_HIST_TRIGGERS.",
            )


def _unfit(message: str, hint: str) -> BoxliteError:
    return BoxliteError(message, hint=hint, exit_code=ExitCode.HOST_UNFIT)


def _make(directory: Path) -> None:
    try:
        directory.mkdir()
    except OSError as error:
        raise _unfit(
            f"cannot make {directory}: {error.strerror}",
            "A kernel that is locked down (/sys/kernel/security/lockdown) lets"
            " nobody trace.",
        ) from error


def _remove(directory: Path) -> None:
    """Remove an instance; the kernel takes its triggers and files along."""
    try:
        directory.rmdir()
    except OSError as error:
        raise BoxliteError(
            f"cannot remove {directory}: {error.strerror}",
            hint=f"When nobody reads in it any more: rmdir {directory}",
        ) from error


def _order(file: Path, words: str) -> None:
    """Write a command to the kernel. Not truncated: that would remove others."""
    try:
        with file.open("a") as out:
            out.write(f"{words}\n")
    except OSError as error:
        raise _unfit(
            f"the kernel refuses {words!r} in {file}: {error.strerror}",
            "Its KVM may be older or newer than this release knows.",
        ) from error
