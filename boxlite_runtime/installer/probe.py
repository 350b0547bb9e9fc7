# SPDX-License-Identifier: Apache-2.0
"""Finds out, once, with what accelerator a guest really boots on this host.

Owns: the probe boot and ``accel.json``. Does not own: the command line that
runs containers (the vmm crate); this one holds the least that boots.

Why a boot: on a nested host /dev/kvm opens and even runs 16-bit code while a
stock kernel hangs under it. Only a guest that comes up proves anything.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from boxlite_runtime.errors import BoxliteError
from boxlite_runtime.installer import files
from boxlite_runtime.process import run, stream

#: What the agent prints on the console once it is PID 1 and set up.
READY = "boxlite-agent: ready"

#: The name of the agent's port (PORT_NAME of the protocol crate).
PORT = "org.boxlite.agent"

#: Seconds a guest gets. KVM boots in well under one; TCG takes about one on
#: a quiet host, and a busy two-core host has been seen to need several.
KVM_DEADLINE = 5.0
TCG_DEADLINE = 60.0


@dataclass(frozen=True)
class Machine:
    """What the probe boots."""

    qemu: Path
    kernel: Path
    initrd: Path


@dataclass(frozen=True)
class Answer:
    """What the shim reads from accel.json when ``accel`` is ``auto``."""

    accel: str
    reason: str
    qemu: str
    probed_at: str


class _ReadyError(Exception):
    """Ends the console of a guest that has shown what was asked of it."""


def argv(machine: Machine, accel: str) -> list[str]:
    """Return the command line of a probe boot. Its console is stdout."""
    return [
        str(machine.qemu),
        "-machine", f"microvm,accel={accel},x-option-roms=off,isa-serial=on,rtc=on,acpi=off",
        "-cpu", f"{'host' if accel == 'kvm' else 'max'},vmx=off,svm=off",
        "-m", "256",
        "-nodefaults", "-no-user-config", "-no-reboot",
        "-display", "none",
        "-serial", "stdio",
        # The agent says hello here before it is ready; nobody reads it.
        "-chardev", "file,id=agent,path=/dev/null",
        "-device", "virtio-serial-device,max_ports=2",
        "-device", f"virtserialport,chardev=agent,name={PORT}",
        "-kernel", str(machine.kernel),
        "-initrd", str(machine.initrd),
        "-append", "console=ttyS0 panic=-1 reboot=t quiet dummy.numdummies=0",
    ]  # fmt: skip


def boot(machine: Machine, accel: str, deadline: float) -> str | None:
    """Boot once; return ``None`` if the agent came up, else the reason."""
    console: list[str] = []

    def watch(line: str) -> None:
        console.append(line)
        if READY in line:
            raise _ReadyError

    try:
        stream(argv(machine, accel), on_line=watch, timeout=deadline, check=False)
    except _ReadyError:
        return None
    except BoxliteError as error:
        said = f"; its console: {_telling(console)}" if console else "; it said nothing"
        if console or error.message.startswith("gave up"):
            return f"a guest did not come up in {deadline:g} s{said}"
        return error.message
    return f"QEMU ended: {_telling(console)}"


def _telling(console: list[str]) -> str:
    """Return the line of a console that says most about its end."""
    words = ("boxlite-agent:", "panic", "qemu")
    found = [line for word in words for line in console if word in line]
    return next(iter([*found, *console[-1:]]), "without a word")


def choose(
    machine: Machine,
    *,
    has_kvm: bool,
    attempt: Callable[[Machine, str, float], str | None] = boot,
) -> tuple[str, str]:
    """Return the accelerator and the reason for it.

    Raises ``BoxliteError`` if a guest boots with none.
    """
    why_not = "there is no /dev/kvm"
    if has_kvm:
        began = time.monotonic()
        refusal = attempt(machine, "kvm", KVM_DEADLINE)
        if refusal is None:
            return "kvm", f"a guest came up in {time.monotonic() - began:.2f} s"
        why_not = f"/dev/kvm is there, but {refusal}"
    refusal = attempt(machine, "tcg", TCG_DEADLINE)
    if refusal is not None:
        raise BoxliteError(
            f"the guest does not boot on this host: {refusal}",
            hint="Build it again: boxlite kernel build && boxlite rootfs build",
        )
    return "tcg", why_not


def probe(machine: Machine, answer_file: Path) -> Answer:
    """Boot, choose, and store the answer for the shim."""
    version = qemu_version(machine.qemu)
    accel, reason = choose(machine, has_kvm=Path("/dev/kvm").exists())
    now = datetime.now(UTC).isoformat(timespec="seconds")
    answer = Answer(accel, reason, version, now)
    text = json.dumps(asdict(answer), indent=2) + "\n"
    answer_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    files.write(answer_file, text.encode(), 0o644)
    return answer


def read(answer_file: Path) -> Answer | None:
    """Return the stored answer, ``None`` if there is none or it is damaged."""
    try:
        return Answer(**json.loads(answer_file.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def qemu_version(qemu: Path) -> str:
    """Return QEMU's version, for instance ``10.0.13``."""
    line = run([qemu, "--version"], timeout=30).stdout.partition("\n")[0]
    words = line.split()
    if "version" not in words[:-1]:
        raise BoxliteError(f"cannot tell the version of {qemu}: it says {line!r}")
    return words[words.index("version") + 1].partition("(")[0]
