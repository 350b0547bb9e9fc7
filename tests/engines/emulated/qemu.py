# SPDX-License-Identifier: Apache-2.0
"""The command line of the QEMU that is an emulated host. Pure."""

from collections.abc import Sequence
from pathlib import Path

from tests.engines.command import Word

PROGRAM = "qemu-system-x86_64"
#: Everything TCG has, among it SVM with nested paging, but what makes it slow: page
#: tables of five levels, and string instructions that only hardware does fast.
CPU = "max,svm=on,npt=on,la57=off,erms=off,fsrm=off"
#: A warning is no news of an emulated host; a panic ends it at once, and whatever the
#: kernel cannot go on from is one. The counter is the host's, and stable.
KERNEL = (
    "console=ttyS0 quiet loglevel=3 panic=-1 oops=panic mitigations=off tsc=reliable"
)
#: With more, machines end or hang, or the host's kernel panics, once in some hundred
#: starts. By QEMU's source: a CPU that is made to step out by another, while it is in
#: a machine, takes the interrupt once more that VMRUN injected last, whatever the
#: machine is at; helper_vmrun() leaves exception_index set.
CPUS = 1


def arguments(
    *,
    image: Path,
    initrd: Path,
    console: Path,
    handed: Path,
    memory_mib: int,
    cpus: int = CPUS,
    writable: Sequence[Path] = (),
) -> list[Word]:
    """Return the command line: the host's kernel, its console, and its files."""
    shares = [
        ("files", Path("/"), True),
        ("handed", handed, False),
        *((f"writable{number}", path, False) for number, path in enumerate(writable)),
    ]
    return [
        PROGRAM,
        "-machine", "q35",
        "-accel", "tcg,thread=multi",
        "-cpu", CPU,
        "-smp", str(cpus),
        "-m", f"{memory_mib}M",
        "-nodefaults", "-no-user-config", "-no-reboot",
        "-display", "none",
        "-chardev", f"file,id=console,path={_doubled(console)}",
        "-serial", "chardev:console",
        "-kernel", image,
        "-initrd", initrd,
        "-append", KERNEL,
        *(word for share in shares for word in _share(*share)),
    ]  # fmt: skip


def _share(name: str, path: Path, read_only: bool) -> list[Word]:
    """Return the options for a directory that the host mounts by its name."""
    options = "security_model=none,multidevs=remap"
    if read_only:
        options += ",readonly=on"
    return [
        "-fsdev", f"local,id={name},path={_doubled(path)},{options}",
        "-device", f"virtio-9p-pci,fsdev={name},mount_tag={name}",
    ]  # fmt: skip


def _doubled(path: Path) -> str:
    """Return a path as one of several values with commas between them."""
    return str(path).replace(",", ",,")
