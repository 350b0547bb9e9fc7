# SPDX-License-Identifier: Apache-2.0
"""How the accelerator is chosen. The boots themselves are played by scripts."""

from pathlib import Path

import pytest

from boxlite_runtime.errors import BoxliteError
from boxlite_runtime.installer import probe

MACHINE = probe.Machine(Path("/shim"), Path("/config.toml"))


def script(path: Path, body: str) -> Path:
    """Write a shell script that stands for a program, and return its path."""
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def shim(directory: Path, body: str) -> probe.Machine:
    """Return a machine of a shim that is a shell script."""
    return probe.Machine(script(directory / "shim", body), MACHINE.config)


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


def test_the_shim_is_asked_for_an_accelerator_and_a_time(tmp_path: Path) -> None:
    machine = shim(tmp_path, f'echo "$@" >{tmp_path}/words; echo \'{{"up": true}}\'')

    assert probe.boot(machine, "tcg", 60.0) is None
    assert (tmp_path / "words").read_text() == (
        "probe --accel tcg --seconds 60 --config /config.toml\n"
    )


def test_the_shims_reason_is_the_refusal(tmp_path: Path) -> None:
    machine = shim(tmp_path, """echo '{"up": false, "why": "it hung"}'""")

    assert probe.boot(machine, "kvm", 0.5) == "it hung"


def test_a_shim_that_cannot_probe_is_quoted(tmp_path: Path) -> None:
    machine = shim(
        tmp_path, "echo 'containerd-shim-boxlite-v1: no virtiofsd' >&2; exit 1"
    )

    assert probe.boot(machine, "kvm", 5) == "no virtiofsd"


@pytest.mark.parametrize("answer", ["", "{}", "up", '{"up": false}'])
def test_an_answer_of_another_release_is_no_refusal(
    tmp_path: Path, answer: str
) -> None:
    with pytest.raises(BoxliteError, match="does not speak of the probe"):
        probe.boot(shim(tmp_path, f"echo '{answer}'"), "kvm", 5)


def test_a_shim_that_hangs_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "OVERHEAD", 0.1)

    refusal = probe.boot(shim(tmp_path, "sleep 60"), "kvm", 0.1)

    assert refusal is not None
    assert refusal.startswith("gave up after 0.2 s on: ")


def test_the_answer_is_stored_for_the_shim(tmp_path: Path) -> None:
    machine = shim(tmp_path, """echo '{"up": true}'""")
    version = "echo 'QEMU emulator version 10.0.13 (Debian)'"
    qemu = script(tmp_path / "qemu", version)
    stored = tmp_path / "state" / "accel.json"

    answer = probe.probe(machine, qemu, stored)

    assert answer.qemu == "10.0.13"
    assert probe.read(stored) == answer


def test_a_damaged_answer_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "accel.json").write_text("{}")

    assert probe.read(tmp_path / "accel.json") is None
