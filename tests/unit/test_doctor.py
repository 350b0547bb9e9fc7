# SPDX-License-Identifier: Apache-2.0
"""How findings are judged. The facts are given, the host is not asked."""

from dataclasses import replace
from pathlib import Path

import pytest

from boxlite_runtime.doctor import engines, finding, host, installation
from boxlite_runtime.doctor.engines import DockerFacts
from boxlite_runtime.doctor.finding import Finding, Level
from boxlite_runtime.installer.probe import Answer, Remembered
from boxlite_runtime.paths import SHIM_NAME, Layout


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("26.1.5+dfsg1", (26, 1, 5)),
        ("1.7.24~ds1", (1, 7, 24)),
        ("v2.4.2", (2, 4, 2)),
        ("10.0.13", (10, 0, 13)),
        ("virtiofsd", ()),
    ],
)
def test_a_version_is_its_leading_numbers(text: str, numbers: tuple[int, ...]) -> None:
    assert finding.parse_version(text) == numbers


def level(found: Finding) -> Level:
    """Return the level; a problem or a limit must come with a cure or a reason."""
    assert found.says
    if found.level is Level.PROBLEM:
        assert found.cure
    return found.level


KVM = Answer("kvm", "hardware", "a guest came up", None, None, 1)
NESTED = replace(KVM, kind="nested", message="the host is one", hint="run on hardware")
TCG = Answer("tcg", "para-virtual", "it is kvm_pvm's", "another host", "MSR 0x10a", 1)


@pytest.mark.parametrize(
    ("answer", "expected", "says", "cure"),
    [
        (KVM, Level.OK, "kvm: a guest came up", None),
        (NESTED, Level.NOTE, "kvm: the host is one", "run on hardware"),
        (
            TCG,
            Level.NOTE,
            "tcg, slow and no security boundary: it is kvm_pvm's",
            "another host",
        ),
    ],
)
def test_the_accelerator_is_told_in_the_words_of_its_answer(
    answer: Answer, expected: Level, says: str, cure: str | None
) -> None:
    found = host.judge_accelerator(Remembered(answer, None))

    assert (level(found), found.says, found.cure) == (expected, says, cure)
    assert found.about == {
        "accel": answer.accel,
        "kind": answer.kind,
        "message": answer.message,
        "hint": answer.hint,
        "detail": answer.detail,
        "asked": 1,
    }


@pytest.mark.parametrize("answer", [None, KVM])
def test_an_answer_that_does_not_hold_is_not_told_as_one(answer: Answer | None) -> None:
    found = host.judge_accelerator(Remembered(answer, "the kernel is another"))

    assert level(found) is Level.NOTE
    assert found.says.startswith("the kernel is another; the next start")
    assert "a guest came up" not in found.says


def test_without_a_shim_nobody_can_be_asked(tmp_path: Path) -> None:
    found = host.accelerator(Layout(root=tmp_path))

    assert (level(found), found.cure) == (Level.PROBLEM, "boxlite install")


@pytest.mark.parametrize(
    ("version", "expected"),
    [("8.2.0", Level.OK), ("7.2.15", Level.PROBLEM), (None, Level.PROBLEM)],
)
def test_qemu_must_be_recent(version: str | None, expected: Level) -> None:
    found = host.judge_program("qemu", Path("/q"), version, host.QEMU_MINIMUM)

    assert level(found) is expected


def test_firmware_is_found_in_any_directory_of_qemus_data(tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    (tmp_path / "second/qboot.rom").touch()

    found = host.judge_firmware([tmp_path / "first", tmp_path / "second"])

    assert (level(found), found.says) == (Level.OK, f"{tmp_path}/second/qboot.rom")


def test_without_firmware_it_is_said_where_qemu_looks(tmp_path: Path) -> None:
    found = host.judge_firmware([tmp_path / "first", tmp_path / "second"])

    assert level(found) is Level.PROBLEM
    assert f"{tmp_path}/first, {tmp_path}/second" in found.says
    assert found.cure is not None and "qemu-system-data" in found.cure


def test_a_qemu_tells_where_its_data_is(tmp_path: Path) -> None:
    qemu = tmp_path / "qemu"
    qemu.write_text('#!/bin/sh\n[ "$*" = "-L help" ] && printf "/a\\n/b c\\n"\n')
    qemu.chmod(0o755)

    assert host.data(qemu) == [Path("/a"), Path("/b c")]
    assert host.data(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("unified", "legacy", "expected"),
    [
        (True, False, Level.OK),
        (False, True, Level.OK),
        (False, False, Level.PROBLEM),
    ],
)
def test_some_cgroup_hierarchy_must_be_mounted(
    unified: bool, legacy: bool, expected: Level
) -> None:
    assert level(host.judge_cgroups(unified=unified, legacy=legacy)) is expected


def test_a_missing_right_is_a_limit_and_no_problem() -> None:
    assert level(host.judge_resource_right(0x1FFFFFFFFFF)) is Level.OK
    assert level(host.judge_resource_right(0x1FFFEFFFFFF)) is Level.NOTE


@pytest.mark.parametrize(
    ("facts", "expected", "says"),
    [
        (DockerFacts(True, True, "26.1.5", "26.1.5", "cgroupfs"), Level.OK, "cgroupfs"),
        (DockerFacts(True, False, None, None), Level.NOTE, "only a docker client"),
        (DockerFacts(True, True, "20.10.24", None), Level.PROBLEM, "23 is the first"),
        (DockerFacts(True, True, "26.1.5", None), Level.NOTE, "not running"),
    ],
)
def test_docker_is_judged_by_its_daemon(
    facts: DockerFacts, expected: Level, says: str
) -> None:
    found = engines.judge_docker(facts)

    assert level(found) is expected
    assert says in found.says


@pytest.mark.parametrize(
    ("configured", "known", "expected"),
    [
        (True, True, Level.OK),
        (True, None, Level.OK),
        (True, False, Level.PROBLEM),
        (False, None, Level.PROBLEM),
    ],
)
def test_docker_must_know_the_runtime_in_file_and_in_fact(
    configured: bool, known: bool | None, expected: Level
) -> None:
    found = engines.judge_docker_runtime(
        has_docker=True, configured=configured, known=known
    )

    assert level(found) is expected


@pytest.mark.parametrize(
    ("version", "running", "expected"),
    [
        ("1.7.24~ds1", True, Level.OK),
        ("2.4.2", False, Level.NOTE),
        ("1.6.20", True, Level.PROBLEM),
        (None, False, Level.PROBLEM),
    ],
)
def test_containerd_must_speak_the_task_api(
    version: str | None, running: bool, expected: Level
) -> None:
    assert level(engines.judge_containerd(version, running=running)) is expected


def program(directory: Path) -> Path:
    directory.mkdir(parents=True)
    path = directory / SHIM_NAME
    path.touch(mode=0o755)
    return path


def test_the_shim_must_be_the_first_on_containerds_path(tmp_path: Path) -> None:
    layout = Layout(root=tmp_path)
    ours = program(layout.shim.parent).parent
    other = program(tmp_path / "other").parent

    assert level(engines.judge_path(f"/bin:{ours}", layout)) is Level.OK
    shadowed = engines.judge_path(f"{other}:{ours}", layout)
    assert level(shadowed) is Level.PROBLEM
    assert str(other) in shadowed.says
    assert level(engines.judge_path("/nowhere", layout)) is Level.PROBLEM
    assert level(engines.judge_path(None, layout)) is Level.NOTE


def test_a_shim_that_is_not_installed_is_not_a_wrong_path(tmp_path: Path) -> None:
    layout = Layout(root=tmp_path)

    assert engines.judge_path(str(layout.shim.parent), layout).cure == "boxlite install"


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        ({"sha256": {"vmlinux": "a", "initrd.img": "b"}}, Level.OK),
        ({"sha256": {"vmlinux": "a", "initrd.img": "x"}}, Level.PROBLEM),
        ({"sha256": {"vmlinux": "a"}}, Level.PROBLEM),
        ({}, Level.PROBLEM),
        (None, Level.PROBLEM),
    ],
)
def test_the_guest_must_be_the_one_of_its_manifest(
    manifest: dict[str, object] | None, expected: Level
) -> None:
    found = installation.judge_guest(manifest, {"vmlinux": "a", "initrd.img": "b"})

    assert level(found) is expected


def test_an_installation_below_a_root_is_examined_there(tmp_path: Path) -> None:
    layout = Layout(root=tmp_path)

    for check in (installation.guest, installation.configuration, installation.shim):
        assert check(layout).cure == "boxlite install"
