# SPDX-License-Identifier: Apache-2.0
"""The QEMU of a container: its threads, and what it runs on.

Owns: finding it on this host. Does not own: starting or ending it.
"""

import os
import re
import select
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from boxlite_runtime.errors import BoxliteError, ExitCode

PROC = Path("/proc")
#: Seconds for a machine to end once its container was killed.
END = 60.0
#: Kernel module -> the processor's instruction set whose exits it knows.
INSTRUCTION_SETS = {"kvm_amd": "svm", "kvm_intel": "vmx"}


@dataclass(frozen=True)
class Machine:
    """A QEMU that runs. ``accel`` is its command line's word, empty for none."""

    pid: int
    accel: str
    restored: bool

    def threads(self) -> frozenset[int]:
        """Return the ids of its threads, the processors' among them."""
        try:
            tasks = [task.name for task in (PROC / str(self.pid) / "task").iterdir()]
        except (FileNotFoundError, ProcessLookupError) as gone:
            raise BoxliteError(
                "the machine has ended by itself",
                hint="The shim's log, which is in containerd's, says why.",
            ) from gone
        return frozenset(map(int, tasks))

    def gone(self) -> None:
        """Wait until it has ended. Raises ``BoxliteError`` if it does not."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            if not poll.poll(END * 1000):
                raise BoxliteError(f"a machine has not ended in {END:g} s")
        finally:
            os.close(handle)


def read(pid: int, words: Sequence[str], container: str) -> Machine | None:
    """Return the machine that a command line starts, if it is the container's."""
    program = Path(words[0]).name if words else ""
    names = {word.partition(",")[0] for word in words}
    if not program.startswith("qemu-system-") or f"guest={container}" not in names:
        return None
    line = " ".join(words)
    accel = re.search(r"-accel (\w+)|\baccel=(\w+)", line)
    named = (accel[1] or accel[2]) if accel else ""
    return Machine(pid, named, restored="-incoming" in words)


def of(container: str) -> Machine:
    """Return the machine of a container that runs. Raises ``BoxliteError``."""
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            line = (entry / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            # It ended between the two looks.
            continue
        words = line.rstrip(b"\0").decode(errors="replace").split("\0")
        machine = read(int(entry.name), words, container)
        if machine is not None:
            return machine
    raise BoxliteError(
        "the container has no machine on this host",
        hint="Exits can only be counted where the engine is, of a runtime that"
        " runs machines.",
        exit_code=ExitCode.HOST_UNFIT,
    )


def under_kvm(container: str) -> Machine:
    """Return the machine of a container. Raises ``BoxliteError`` without KVM."""
    machine = of(container)
    if machine.accel != "kvm":
        raise BoxliteError(
            f"machines run under {machine.accel or 'no accelerator'} here, and exits"
            " are KVM's",
            hint="boxlite doctor says why they do.",
            exit_code=ExitCode.HOST_UNFIT,
        )
    return machine


def instruction_set() -> str:
    """Return svm or vmx, by the module of KVM that is loaded."""
    return next(
        (
            name
            for module, name in INSTRUCTION_SETS.items()
            if Path("/sys/module", module).exists()
        ),
        "not known",
    )
