# SPDX-License-Identifier: Apache-2.0
"""Finds out, once, with what accelerator a guest really boots on this host.

Owns: which accelerators are tried, for how long, and ``accel.json``. Does not
own: the boot itself, which is the shim's: it alone knows what containers run
on, and anything less may come up where that does not.

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
from boxlite_runtime.process import run
from boxlite_runtime.shim import another_release, document, must_have_worked

#: Seconds a guest gets. KVM boots in well under one; TCG takes about one on
#: a quiet host, and a busy two-core host has been seen to need several.
KVM_DEADLINE = 5.0
TCG_DEADLINE = 60.0

#: Seconds the shim may take beside the guest's.
OVERHEAD = 30.0


@dataclass(frozen=True)
class Machine:
    """What the probe boots: what this shim makes of this configuration."""

    shim: Path
    config: Path


@dataclass(frozen=True)
class Answer:
    """What the shim reads from accel.json when ``accel`` is ``auto``."""

    accel: str
    reason: str
    qemu: str
    probed_at: str


def boot(machine: Machine, accel: str, deadline: float) -> str | None:
    """Boot once; return ``None`` if the agent came up, else the reason."""
    words = ["probe", "--accel", accel, "--seconds", f"{deadline:g}"]
    argv: list[str | Path] = [machine.shim, *words, "--config", machine.config]
    try:
        done = run(argv, check=False, timeout=deadline + OVERHEAD)
        must_have_worked(done)
    except BoxliteError as error:
        return error.message
    match document(done.stdout):
        case {"up": True}:
            return None
        case {"up": False, "why": str(why)}:
            return why
    raise another_release("the probe")


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


def probe(machine: Machine, qemu: Path, answer_file: Path) -> Answer:
    """Boot, choose, and store the answer for the shim.

    ``qemu`` is the program its configuration names, whose version goes into
    the answer.
    """
    version = qemu_version(qemu)
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
