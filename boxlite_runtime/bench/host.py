# SPDX-License-Identifier: Apache-2.0
"""What a reader must know of the host to judge a number.

Owns: finding it, and saying so where something cannot be told. Does not own:
the engine's versions; the engine says them.
"""

import os
import platform
import re
from pathlib import Path

from boxlite_runtime import __version__
from boxlite_runtime.doctor.host import program, version
from boxlite_runtime.installer import probe
from boxlite_runtime.paths import Layout

UNKNOWN = "not known"


def facts(layout: Layout, versions: str) -> dict[str, str]:
    """Return what this host is, by name. ``versions`` is what the engine says."""
    answer = probe.read(layout.accel)
    return {
        "CPU": model(_text(Path("/proc/cpuinfo"))),
        "CPUs": str(os.cpu_count() or UNKNOWN),
        "Memory": memory(_text(Path("/proc/meminfo"))),
        "Kernel": f"Linux {platform.release()}",
        "Accelerator": answer.accel if answer else UNKNOWN,
        "QEMU": version(program(layout, "qemu")) or UNKNOWN,
        "Engine": versions,
        "BoxLite": __version__,
        "Load before": f"{os.getloadavg()[0]:.1f}",
    }


def model(cpuinfo: str) -> str:
    """Return the CPU's name from /proc/cpuinfo."""
    match = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return match[1].strip() if match else UNKNOWN


def memory(meminfo: str) -> str:
    """Return the memory in GiB from /proc/meminfo."""
    match = re.search(r"^MemTotal:\s*(\d+) kB$", meminfo, re.MULTILINE)
    return f"{int(match[1]) / (1 << 20):.0f} GiB" if match else UNKNOWN


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        # Not this kind of /proc; what is missing is told as not known.
        return ""
