# SPDX-License-Identifier: Apache-2.0
"""Boots an emulated host with one job, and tells how that ended.

Owns: what is handed over, the time limits, the job's output on its way here, the end
of QEMU. Does not own: the host's kernel (``kernel``), the command line (``qemu``),
what an end means (``ending``).

Order: directory for what is handed over -> QEMU -> the host says that the job has
started -> the job's output as it comes -> the host says how the job ended, or is
ended -> ``Ending``.
"""

import argparse
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from os import fspath
from pathlib import Path
from typing import NoReturn

from boxlite_runtime.errors import BoxliteError
from tests.engines import command, settings
from tests.engines.command import Word
from tests.engines.emulated import ending, fit, initrd, qemu
from tests.engines.emulated.ending import Ending
from tests.engines.emulated.kernel import HOSTS, Kernel
from tests.engines.waiting import SLOWNESS

#: Seconds from QEMU's start to the job's.
BOOT_SECONDS = 180.0
#: Seconds a host may take to switch itself off when its job has ended.
OFF_SECONDS = 20.0
#: Seconds between two looks at what the job has written.
PAUSE = 0.2
#: Memory a host gets. What it does not touch costs nothing.
MEMORY_MIB = 6144

#: It is some 20 times slower than one with KVM, and some 5 times slower than one whose
#: machines run under TCG, for which the tests' times are meant.
SLOWER = "6"

#: Where every emulated host has a filesystem of its own, over this host's files.
COVERED = tuple(
    Path(path)
    for path in ("/run", "/tmp", "/dev", "/var/lib/docker", "/var/lib/containerd", "/var/lib/boxlite")
)  # fmt: skip
START = Path(__file__).with_name("start.sh")
#: The configuration of a host without one.
SAMPLE = Path(__file__).resolve().parents[3] / "install/config.toml"


@dataclass(frozen=True)
class Job:
    """What a host is booted for."""

    argv: Sequence[Word]
    directory: Path
    seconds: float
    environment: Mapping[str, str] = field(default_factory=dict)
    #: Directories the host sees although they lie below ``COVERED``.
    needs: Sequence[Path] = ()
    #: Directories whose files it may change.
    writable: Sequence[Path] = ()


def run(
    kernel: Kernel,
    job: Job,
    *,
    console: Path,
    output: Callable[[bytes], object],
    memory_mib: int = MEMORY_MIB,
    cpus: int = qemu.CPUS,
) -> Ending:
    """Boot a host for ``job``, hand its output on as it comes; return how it ended."""
    with tempfile.TemporaryDirectory(prefix="emulated-") as name:
        directory = Path(name)
        handed = directory / "handed"
        _hand_over(handed, kernel, job)
        image = directory / "initrd"
        image.write_bytes(initrd.pack(kernel.modules, fit.BUSYBOX))
        console.unlink(missing_ok=True)
        argv = qemu.arguments(
            image=kernel.image,
            initrd=image,
            console=console,
            handed=handed,
            memory_mib=memory_mib,
            cpus=cpus,
            writable=job.writable,
        )
        said = directory / "qemu"
        with (
            said.open("wb") as errors,
            command.background(
                argv, stdout=errors.fileno(), stderr=errors.fileno()
            ) as process,
        ):
            expired = _attend(process, handed, job.seconds, output)
        return ending.tell(
            status=_text(handed / "status"),
            console=_text(console),
            qemu=_text(said),
            expired=expired,
            shutdowns=_text(handed / "shutdowns"),
        )


def _attend(
    process: "subprocess.Popen[bytes]",
    handed: Path,
    seconds: float,
    output: Callable[[bytes], object],
) -> bool:
    """Hand the output on until the host has ended; tell whether its time was up."""
    status = handed / "status"
    deadline = time.monotonic() + BOOT_SECONDS
    phase = ""
    with (handed / "output").open("rb") as written:
        while True:
            gone = process.poll() is not None
            if data := written.read():
                output(data)
            last = _text(status).rpartition("\n")[0].rpartition("\n")[2]
            if last != phase:
                phase = last
                more = OFF_SECONDS if phase.startswith("ended") else seconds
                deadline = time.monotonic() + more
            if gone or time.monotonic() >= deadline:
                return not gone
            with suppress(subprocess.TimeoutExpired):
                process.wait(PAUSE)


def _hand_over(handed: Path, kernel: Kernel, job: Job) -> None:
    handed.mkdir()
    for name in ("output", "status"):
        (handed / name).touch()
    (handed / "start.sh").write_bytes(START.read_bytes())
    (handed / "settings.sh").write_text(settings_text(kernel, job))
    (handed / "job.sh").write_text(job_text(job))
    text = SAMPLE.read_text()
    accelerated = settings.with_value(text, "machine", "accel", "kvm")
    (handed / "config.toml").write_text(accelerated)


def settings_text(kernel: Kernel, job: Job) -> str:
    """Return what start.sh reads: the modules, and the directories to show."""
    kept = [path for path in (kernel.root, job.directory, *job.needs) if covered(path)]
    words = {"kept": kept, "writable": job.writable}
    lines = [f"modules={shlex.quote(fspath(kernel.modules))}"]
    for name, paths in words.items():
        listed = " ".join(shlex.quote(fspath(path)) for path in dict.fromkeys(paths))
        lines.append(f"{name}=({listed})")
    return "".join(f"{line}\n" for line in lines)


def covered(path: Path) -> bool:
    """Tell whether a path of this host is not to be seen in an emulated one."""
    return any(path.is_relative_to(directory) for directory in COVERED)


def job_text(job: Job) -> str:
    """Return the job as a script."""
    lines = [f"cd {shlex.quote(fspath(job.directory))} || exit 125"]
    for name, value in sorted(job.environment.items()):
        lines.append(f"export {name}={shlex.quote(value)}")
    lines.append("exec " + shlex.join(fspath(word) for word in job.argv))
    return "".join(f"{line}\n" for line in lines)


def environment() -> dict[str, str]:
    """Return what of this process's environment a job gets."""
    return {
        # Programs are looked for where they are here.
        "PATH": os.environ["PATH"],
        # What cannot be written should not be tried, and what is written be seen.
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        SLOWNESS: SLOWER,
        **{k: v for k, v in os.environ.items() if k.startswith("BOXLITE_")},
    }


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what every emulated host has."""
    parser.add_argument(
        "--host", choices=HOSTS, default=HOSTS[0],
        help="the Debian whose kernel it runs (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--memory", type=int, default=MEMORY_MIB, metavar="MIB",
        help="its memory (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--cpus", type=int, default=qemu.CPUS, metavar="COUNT",
        help="its processors; with more than one, machines end now and then"
        " (default: %(default)s)",
    )  # fmt: skip


def show(data: bytes) -> None:
    """Hand a job's output on."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def program(main: Callable[[list[str]], int]) -> NoReturn:
    """Run ``main`` as this process's program, and end with its exit code.

    SIGTERM ends it as Ctrl-C does: with what it has started.
    """
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        sys.exit(main(sys.argv[1:]))
    except BoxliteError as error:
        sys.exit(f"{error.message}\n{error.hint or ''}")


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return ""
