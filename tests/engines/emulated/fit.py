# SPDX-License-Identifier: Apache-2.0
"""Why this host can have no emulated host, in words that name what is missing.

Owns: the list of what is needed, but for the kernel (``kernel``). Does not own: what
follows; a user's machine goes without, in CI it is a failure.
"""

import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path

from boxlite_runtime.paths import host_layout
from tests.engines import command
from tests.engines.emulated import kernel, qemu

BUSYBOX = Path("/bin/busybox")
#: Programs, and the packages of Debian that hold them.
PROGRAMS = {qemu.PROGRAM: "qemu-system-x86", "depmod": "kmod", "modprobe": "kmod"}
#: MiB of memory this host keeps for itself.
SPARE_MIB = 1024
#: MiB of disk that a kernel takes while it is unpacked.
KERNEL_MIB = 1500


def lacking(host: str, memory_mib: int) -> str | None:
    """Return what this host lacks for an emulated one, ``None`` if nothing."""
    # Each may rely on those before it.
    looks: list[Callable[[], str | None]] = [
        _processor,
        _rights,
        _programs,
        _busybox,
        lambda: _memory(memory_mib),
        lambda: _disk(kernel.directory(host)),
        _svm,
    ]
    return next((reason for look in looks if (reason := look())), None)


def _processor() -> str | None:
    if platform.machine() != "x86_64":
        return f"this host is {platform.machine()}, and its programs run there too"
    return None


def _rights() -> str | None:
    return "it needs root, whose files it shows" if os.geteuid() != 0 else None


def _programs() -> str | None:
    for program, package in PROGRAMS.items():
        if shutil.which(program) is None:
            return f"no {program}; apt-get install {package}"
    return None


def _busybox() -> str | None:
    if not BUSYBOX.exists() or b"/ld-linux" in BUSYBOX.read_bytes()[:4096]:
        return f"no static {BUSYBOX}; apt-get install busybox-static"
    return None


def _memory(memory_mib: int) -> str | None:
    lines = Path("/proc/meminfo").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("MemAvailable:"))
    available = int(line.split()[1]) // 1024
    if available < memory_mib + SPARE_MIB:
        return (
            f"{available} MiB of memory are available, and it takes "
            f"{memory_mib} with {SPARE_MIB} to spare"
        )
    return None


def _disk(directory: Path) -> str | None:
    if directory.exists():
        return None
    there = next(path for path in directory.parents if path.exists())
    free = shutil.disk_usage(there).free >> 20
    if free < KERNEL_MIB:
        return f"{free} MiB are free in {there}, and a kernel takes {KERNEL_MIB}"
    return None


def _svm() -> str | None:
    """Ask QEMU, which refuses a feature it does not have before it starts."""
    asked = command.run(
        [
            qemu.PROGRAM, "-machine", "q35", "-accel", "tcg", "-nodefaults", "-S",
            "-display", "none", "-monitor", "stdio", "-cpu", f"{qemu.CPU},enforce",
        ],
        stdin=b"quit\n",
    )  # fmt: skip
    if asked.code != 0:
        said = asked.errors.strip().splitlines()[-1:]
        return f"this QEMU emulates no such processor: {' '.join(said)}"
    return None


def installed() -> str | None:
    """Return what is missing of what is tested there: the installed shim."""
    shim = host_layout().shim
    return None if shim.exists() else f"no {shim}; run install/quickstart"
