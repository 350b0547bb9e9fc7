# SPDX-License-Identifier: Apache-2.0
"""How the accelerator is chosen. The boots themselves are played by scripts."""

from pathlib import Path

import pytest

from boxlite_runtime.errors import BoxliteError
from boxlite_runtime.installer import probe

MACHINE = probe.Machine(Path("/qemu"), Path("/vmlinux"), Path("/initrd.img"))


def script(directory: Path, body: str) -> probe.Machine:
    """Return a machine whose QEMU is a shell script."""
    qemu = directory / "qemu"
    qemu.write_text(f"#!/bin/sh\n{body}\n")
    qemu.chmod(0o755)
    return probe.Machine(qemu, MACHINE.kernel, MACHINE.initrd)


def test_kvm_is_chosen_when_a_guest_comes_up_under_it() -> None:
    accel, reason = probe.choose(MACHINE, has_kvm=True, attempt=lambda *_: None)

    assert accel == "kvm"
    assert "came up" in reason


def test_a_kvm_that_hangs_ends_in_tcg_with_the_reason() -> None:
    def attempt(_: probe.Machine, accel: str, __: float) -> str | None:
        return "it hung" if accel == "kvm" else None

    accel, reason = probe.choose(MACHINE, has_kvm=True, attempt=attempt)

    assert (accel, reason) == ("tcg", "/dev/kvm is there, but it hung")


def test_kvm_is_not_tried_where_there_is_none() -> None:
    tried: list[str] = []

    def attempt(_: probe.Machine, accel: str, __: float) -> None:
        tried.append(accel)

    accel, reason = probe.choose(MACHINE, has_kvm=False, attempt=attempt)

    assert (accel, reason, tried) == ("tcg", "there is no /dev/kvm", ["tcg"])


def test_a_guest_that_boots_nowhere_is_an_error() -> None:
    with pytest.raises(BoxliteError, match="does not boot on this host: no"):
        probe.choose(MACHINE, has_kvm=True, attempt=lambda *_: "no")


def test_the_agents_line_ends_a_boot_at_once(tmp_path: Path) -> None:
    machine = script(tmp_path, f"echo booting; echo {probe.READY!r}; sleep 60")

    assert probe.boot(machine, "tcg", 30) is None


def test_a_silent_guest_is_given_up_at_the_deadline(tmp_path: Path) -> None:
    machine = script(tmp_path, "sleep 60")

    assert probe.boot(machine, "kvm", 0.2) == (
        "a guest did not come up in 0.2 s; it said nothing"
    )


def test_a_qemu_that_fails_is_quoted(tmp_path: Path) -> None:
    machine = script(tmp_path, "echo 'no such machine' >&2; exit 1")

    assert probe.boot(machine, "kvm", 30) == "QEMU ended: no such machine"


def test_the_answer_is_stored_for_the_shim(tmp_path: Path) -> None:
    machine = script(
        tmp_path,
        "[ \"$1\" = --version ] && echo 'QEMU emulator version 10.0.13 (Debian)' "
        f"|| echo {probe.READY!r}",
    )
    stored = tmp_path / "state" / "accel.json"

    answer = probe.probe(machine, stored)

    assert answer.qemu == "10.0.13"
    assert probe.read(stored) == answer


def test_a_damaged_answer_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "accel.json").write_text("{}")

    assert probe.read(tmp_path / "accel.json") is None


@pytest.mark.parametrize(
    ("constant", "value"), [("PORT_NAME", probe.PORT), ("READY_LINE", probe.READY)]
)
def test_the_probe_speaks_of_the_agent_as_the_protocol_does(
    source: Path, constant: str, value: str
) -> None:
    protocol = source / "shim-rs" / "crates" / "protocol" / "src" / "lib.rs"

    assert f'pub const {constant}: &str = "{value}";' in protocol.read_text()
