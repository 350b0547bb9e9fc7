# SPDX-License-Identifier: Apache-2.0
"""What ``boxlite template`` makes of the shim's answers. The shim is a script."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from boxlite_runtime import cli, paths, templates
from boxlite_runtime.errors import BoxliteError, ExitCode
from boxlite_runtime.templates.shim import Shim

ONE = f"1x512-{'a' * 64}"
OTHER = f"1x512-{'ab' * 32}"
LARGE = f"2x1024-{'c' * 64}"


def described(name: str, state: str = "fresh", **more: object) -> dict[str, object]:
    """Return one template as the shim describes it."""
    vcpus, memory = name.partition("-")[0].split("x")
    whole = {"created": 1, "used": 2, "memory_bytes": 3 << 20, "state_bytes": 4}
    return {
        "name": name,
        "vcpus": int(vcpus),
        "memory_mib": int(memory),
        "state": state,
        **({} if state == "damaged" else whole),
        **more,
    }


Play = Callable[[str], Shim]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Put a script in the shim's place; it notes its arguments in a file."""
    layout = replace(paths.Layout(), root=tmp_path)
    monkeypatch.setattr("boxlite_runtime.cli.template.host_layout", lambda: layout)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    layout.shim.parent.mkdir(parents=True)

    def install(body: str) -> Shim:
        calls = tmp_path / "calls"
        layout.shim.write_text(f'#!/bin/sh\necho "$*" >> {calls}\n{body}\n')
        layout.shim.chmod(0o755)
        return Shim(layout.shim)

    return install


def calls(directory: Path) -> list[str]:
    """Return the command lines the script was called with."""
    return (directory / "calls").read_text().splitlines()


def says(document: object) -> str:
    """Return a line of shell that prints a document."""
    return f"cat <<'.'\n{json.dumps(document)}\n."


def call(*words: str) -> int:
    """Run ``boxlite template`` and return its exit code."""
    with pytest.raises(SystemExit) as left:
        cli.main(["template", *words])
    return int(left.value.code or 0)


def test_a_build_tells_its_phases_and_what_it_made(play: Play) -> None:
    made = {"template": described(ONE), "already": False}
    shim = play(says({"phase": "booting"}) + "\n" + says(made))
    phases: list[str] = []

    template, new = shim.build("1x512", on_phase=phases.append)

    assert phases == ["booting"]
    assert (template.name, template.size, new) == (ONE, "1x512", True)


def test_the_configured_size_is_built_unless_told_otherwise(
    play: Play, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play(says({"template": described(ONE), "already": True}))

    assert call("build") == ExitCode.OK
    assert call("build", "--size", "1x512", "--force") == ExitCode.OK
    assert calls(tmp_path) == [
        "template build",
        "template build --size 1x512 --force",
    ]
    assert capsys.readouterr().out == "1x512-aaaaaaaaaaaa is there already\n" * 2


def test_one_size_is_built_and_told_once(
    play: Play, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play(says({"template": described(ONE), "already": False}))

    assert call("build", "--size", "1x512", "--size", "1x512", "--json") == ExitCode.OK
    assert len(calls(tmp_path)) == 2
    assert [found["name"] for found in json.loads(capsys.readouterr().out)] == [ONE]


def test_a_build_that_fails_says_what_the_shim_said(
    play: Play, capsys: pytest.CaptureFixture[str]
) -> None:
    play(
        says({"phase": "booting"})
        + "\necho 'containerd-shim-boxlite-v1: packing the memory failed: No space"
        " left on device' >&2\nexit 1"
    )

    assert call("build") == ExitCode.SUBPROCESS
    said = capsys.readouterr().err
    assert "boxlite: packing the memory failed: No space left on device\n" in said


def test_a_list_shows_what_is_wrong(
    play: Play, capsys: pytest.CaptureFixture[str]
) -> None:
    why = "state is damaged: its digest differs"
    play(
        says(
            [described(ONE, "stale", used=60), described(LARGE, "damaged", why=why)],
        )
    )

    assert call("list") == ExitCode.OK
    assert capsys.readouterr().out.splitlines() == [
        "1x512-aaaaaaaaaaaa stale, 3.0 MiB, used 1970-01-01 00:01:00",
        f"2x1024-cccccccccccc damaged: {why}",
    ]


@pytest.mark.parametrize(
    ("state", "code"),
    [("fresh", ExitCode.OK), ("stale", ExitCode.OK), ("damaged", ExitCode.FAILURE)],
)
def test_a_check_fails_for_damage_alone(play: Play, state: str, code: int) -> None:
    play(says([described(ONE, state, why="cut off" if state == "damaged" else None)]))

    assert call("check") == code


def test_a_name_may_be_cut_as_long_as_it_is_ones_own(
    play: Play, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play(says([described(ONE), described(OTHER), described(LARGE)]))

    assert call("check", "--start", "1x512-ab", "2x") == ExitCode.OK
    assert calls(tmp_path)[-1] == f"template check --start {OTHER} {LARGE}"
    assert call("check", "1x512-a") == ExitCode.FAILURE
    assert "several templates named 1x512-a" in capsys.readouterr().err
    assert call("check", "9x") == ExitCode.FAILURE
    assert "no template named 9x" in capsys.readouterr().err


def test_what_is_removed_must_be_said(
    play: Play, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = described(OTHER, "damaged", why="cut off")
    play(says([described(ONE), damaged, described(LARGE, "stale")]))

    assert call("rm") == ExitCode.USAGE
    assert call("rm", "--stale") == ExitCode.OK
    assert calls(tmp_path)[-1] == f"template rm {OTHER} {LARGE}"
    assert call("rm", "2x", "--all", "--json") == ExitCode.OK
    assert calls(tmp_path)[-1] == f"template rm {LARGE} {ONE} {OTHER}"
    assert capsys.readouterr().out.endswith(f"{json.dumps([LARGE, ONE, OTHER])}\n")


def test_nothing_is_asked_of_the_shim_when_nothing_is_to_go(
    play: Play, tmp_path: Path
) -> None:
    play(says([described(ONE)]))

    assert call("rm", "--stale") == ExitCode.OK
    assert calls(tmp_path) == ["template list"]


def test_another_configuration_is_passed_on(play: Play, tmp_path: Path) -> None:
    play(says([]))
    config = tmp_path / "other.toml"
    config.write_text("")

    assert call("--config", str(config), "list") == ExitCode.OK
    assert calls(tmp_path) == [f"template list --config {config}"]


def test_only_root_may(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    for words in (["build"], ["list"], ["check"], ["rm", "--all"]):
        assert call(*words) == ExitCode.HOST_UNFIT
        assert "Run it as root." in capsys.readouterr().err


def test_an_answer_of_another_release_is_named(play: Play) -> None:
    shim = play(says([{"name": ONE, "colour": "blue"}]))

    with pytest.raises(BoxliteError, match="does not speak of templates"):
        shim.found()


def test_an_installation_without_a_template_has_a_note(
    play: Play, tmp_path: Path
) -> None:
    play("echo 'containerd-shim-boxlite-v1: no room' >&2; exit 1")

    note = templates.build_default(replace(paths.Layout(), root=tmp_path))

    assert note == "no template: no room; boxlite template build tries again"
