# SPDX-License-Identifier: Apache-2.0
"""Checks of the host itself: accelerator, QEMU, virtiofsd, devices, rights."""

import os
import tomllib
from collections.abc import Sequence
from pathlib import Path

from boxlite_runtime.doctor.finding import Finding, Level, parse_version
from boxlite_runtime.errors import BoxliteError
from boxlite_runtime.installer import probe
from boxlite_runtime.paths import Layout
from boxlite_runtime.process import run

#: microvm with the properties the command line uses, and migration to a file.
QEMU_MINIMUM = (8, 2)
#: What starts a machine's kernel; QEMU looks for it where it has its data.
FIRMWARE = "qboot.rom"
#: Earlier ones cannot keep a share's state across a restore.
VIRTIOFSD_MINIMUM = (1, 10)

#: The bit of CAP_SYS_RESOURCE in CapEff.
CAP_SYS_RESOURCE = 24

INSTALL = "boxlite install"


def program(layout: Layout, name: str) -> Path:
    """Return a program's path as configured, or as in the sample file."""
    defaults = {
        "qemu": "/usr/bin/qemu-system-x86_64",
        "virtiofsd": "/usr/libexec/virtiofsd",
    }
    try:
        paths = tomllib.loads(layout.config.read_text()).get("paths", {})
    except (FileNotFoundError, tomllib.TOMLDecodeError):
        # The check of the configuration reports it.
        paths = {}
    return Path(paths.get(name, defaults[name]))


def accelerator(layout: Layout) -> Finding:
    """Say with what machines run, and why."""
    if not layout.shim.exists():
        says = "no guest was booted here yet to choose one"
        return Finding("accelerator", Level.PROBLEM, says, INSTALL)
    try:
        return judge_accelerator(probe.look(layout))
    except BoxliteError as error:
        cure = INSTALL if os.geteuid() == 0 else "run it as root"
        return Finding("accelerator", Level.PROBLEM, error.message, cure)


def judge_accelerator(remembered: probe.Remembered) -> Finding:
    """Judge what the shim remembers: its words, and how much they matter."""
    name = "accelerator"
    answer, stale = remembered.answer, remembered.stale
    if answer is None or stale is not None:
        says = f"{stale}; the next start of a container boots a guest to ask"
        about = answer.about() | {"stale": stale} if answer else None
        return Finding(name, Level.NOTE, says, f"to ask now: {INSTALL}", about)
    # A limit comes with a hint: an emulated machine, or one within another.
    level = Level.OK if answer.accel == "kvm" and not answer.hint else Level.NOTE
    return Finding(name, level, answer.says, answer.hint, answer.about())


def qemu(layout: Layout) -> Finding:
    """Say whether QEMU is there and new enough."""
    path = program(layout, "qemu")
    return judge_program("qemu", path, version(path), QEMU_MINIMUM)


def firmware(layout: Layout) -> Finding:
    """Say whether QEMU finds what starts a machine's kernel."""
    return judge_firmware(data(program(layout, "qemu")))


def judge_firmware(directories: Sequence[Path]) -> Finding:
    """Judge the directories in which QEMU looks for its data."""
    for directory in directories:
        if (directory / FIRMWARE).is_file():
            return Finding("firmware", Level.OK, str(directory / FIRMWARE))
    where = ", ".join(str(directory) for directory in directories) or "nowhere"
    says = (
        f"QEMU has no {FIRMWARE}, and no machine starts without it; it looks in {where}"
    )
    cure = "apt-get install qemu-system-data, or the distribution's package with it"
    return Finding("firmware", Level.PROBLEM, says, cure)


def data(qemu: Path) -> list[Path]:
    """Return where a QEMU looks for its data; nothing of one that does not run."""
    try:
        lines = run([qemu, "-L", "help"], timeout=30).stdout.splitlines()
    except BoxliteError:
        return []
    return [Path(line) for line in lines if line.startswith("/")]


def virtiofsd(layout: Layout) -> Finding:
    """Say whether virtiofsd is there, and the one that is maintained."""
    path = program(layout, "virtiofsd")
    return judge_program("virtiofsd", path, version(path), VIRTIOFSD_MINIMUM)


def judge_program(
    name: str, path: Path, found: str | None, minimum: tuple[int, ...]
) -> Finding:
    """Judge a program by the version found of it."""
    cure = "install/quickstart, or the distribution's package of that version"
    wanted = ".".join(str(number) for number in minimum)
    if found is None:
        return Finding(name, Level.PROBLEM, f"{path} does not run", cure)
    if parse_version(found) < minimum:
        return Finding(
            name, Level.PROBLEM, f"{found} is older than {wanted}: {path}", cure
        )
    return Finding(name, Level.OK, f"{found}: {path}")


def version(path: Path) -> str | None:
    """Return a program's version; ``None`` means that it does not run."""
    try:
        words = run([path, "--version"], timeout=30).stdout.split()
    except BoxliteError:
        return None
    return next((word for word in words if parse_version(word)), None)


def tun(_: Layout) -> Finding:
    """Say whether taps can be made."""
    device = Path("/dev/net/tun")
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return Finding(
            "tun",
            Level.PROBLEM,
            f"{device}: {error.strerror}; containers would have no network",
            "modprobe tun, and run as root",
        )
    return Finding("tun", Level.OK, f"{device} opens")


def cgroups(_: Layout) -> Finding:
    """Say which cgroup hierarchy the engines use here."""
    root = Path("/sys/fs/cgroup")
    unified = (root / "cgroup.controllers").exists()
    legacy = (root / "memory").is_dir()
    return judge_cgroups(unified=unified, legacy=legacy)


def judge_cgroups(*, unified: bool, legacy: bool) -> Finding:
    """Judge the hierarchies mounted at /sys/fs/cgroup."""
    if unified:
        return Finding("cgroups", Level.OK, "version 2")
    if legacy:
        return Finding(
            "cgroups", Level.OK, "version 1 on the host (version 2 in every guest)"
        )
    return Finding(
        "cgroups",
        Level.PROBLEM,
        "no cgroups are mounted at /sys/fs/cgroup",
        "mount -t cgroup2 none /sys/fs/cgroup",
    )


def resource_right(_: Layout) -> Finding:
    """Say whether an OOM score below zero can be set."""
    fields = dict(
        line.split(":\t", 1)
        for line in Path("/proc/self/status").read_text().splitlines()
        if ":\t" in line
    )
    return judge_resource_right(int(fields["CapEff"], 16))


def judge_resource_right(effective: int) -> Finding:
    """Judge a capability mask."""
    if effective >> CAP_SYS_RESOURCE & 1:
        return Finding("rights", Level.OK, "CAP_SYS_RESOURCE is held")
    return Finding(
        "rights",
        Level.NOTE,
        "no CAP_SYS_RESOURCE: an OOM score below zero and higher hard limits "
        "are refused by the kernel",
        "for Kubernetes set restrict_oom_score_adj = true in containerd's CRI",
    )
