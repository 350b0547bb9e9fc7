# SPDX-License-Identifier: Apache-2.0
"""Which container ``boxlite ps`` asks, and how it tells the answer.

The shim and docker are scripts.
"""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from boxlite_runtime import cli, containers, paths
from boxlite_runtime.errors import BoxliteError, ExitCode
from boxlite_runtime.paths import Layout

WEB = "ab" * 32
OTHER = "ac" * 32
PROCESSES = [
    {"pid": 1, "parent": 0, "uid": 0, "command": "httpd"},
    {"pid": 12, "parent": 1, "uid": 33, "command": "a\u009bb"},
]


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """Return a host with a shim that answers, and no docker."""
    layout = replace(paths.Layout(), root=tmp_path)
    monkeypatch.setattr("boxlite_runtime.cli.ps.host_layout", lambda: layout)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr("shutil.which", lambda program: None)
    layout.shim.parent.mkdir(parents=True)
    play(layout, f"cat <<'.'\n{json.dumps(PROCESSES)}\n.")
    return layout


def play(layout: Layout, body: str) -> None:
    """Put a script in the shim's place; it notes its arguments."""
    layout.shim.write_text(f'#!/bin/sh\necho "$*" >> {layout.root}/calls\n{body}\n')
    layout.shim.chmod(0o755)


def docker(layout: Layout, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """Put a script in docker's place."""
    program = layout.root / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    monkeypatch.setattr("shutil.which", lambda name: str(program))
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")


def runs(layout: Layout, namespace: str, container: str) -> Path:
    """Make the run directory of a container."""
    directory = layout.run_dir / namespace / container
    directory.mkdir(parents=True)
    (directory / "record.json").touch()
    return directory


def call(*words: str) -> int:
    """Run ``boxlite ps`` and return its exit code."""
    with pytest.raises(SystemExit) as left:
        cli.main(["ps", *words])
    return int(left.value.code or 0)


def test_the_processes_are_a_table(
    layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = runs(layout, "moby", WEB)

    assert call(WEB) == ExitCode.OK
    assert (layout.root / "calls").read_text() == f"ps {directory}\n"
    assert capsys.readouterr().out.splitlines() == [
        "    PID  PARENT     UID COMMAND",
        "      1       0       0 httpd",
        # What drives a terminal is not passed on.
        "     12       1      33 a?b",
    ]


def test_the_processes_are_json(
    layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    runs(layout, "default", "web")

    assert call("web", "--json") == ExitCode.OK
    assert json.loads(capsys.readouterr().out) == PROCESSES


def test_an_id_may_be_cut_as_long_as_it_is_ones_own(layout: Layout) -> None:
    for container in (WEB, OTHER):
        runs(layout, "moby", container)

    assert containers.find(layout, "ab").id == WEB
    with pytest.raises(BoxliteError, match="several containers begin with a"):
        containers.find(layout, "a")
    with pytest.raises(BoxliteError, match="no BoxLite container  is running"):
        containers.find(layout, "")


def test_a_whole_id_goes_before_the_beginning_of_another(layout: Layout) -> None:
    for container in ("web", "web2"):
        runs(layout, "default", container)

    assert containers.find(layout, "web").id == "web"


def test_the_same_id_in_two_namespaces_wants_one_named(layout: Layout) -> None:
    one, two = (runs(layout, namespace, "web") for namespace in ("one", "two"))

    assert containers.find(layout, "web", "one").directory == one
    assert containers.find(layout, "web", "two").directory == two
    with pytest.raises(BoxliteError, match="web runs in one, two") as refused:
        containers.find(layout, "web")
    assert refused.value.hint == "Say --namespace."


def test_a_directory_that_is_no_containers_is_passed_over(layout: Layout) -> None:
    (layout.run_dir / "engine" / "logs").mkdir(parents=True)

    with pytest.raises(BoxliteError, match="no BoxLite container logs is running"):
        containers.find(layout, "logs")


def test_a_name_is_dockers_before_it_is_the_beginning_of_an_id(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    for container in (WEB, OTHER):
        runs(layout, "moby", container)
    docker(layout, monkeypatch, f'[ "$6" = ab ] && echo {OTHER} running boxlite')

    assert containers.find(layout, "ab").id == OTHER
    assert containers.find(layout, "aba").id == WEB
    # Another engine's namespace is none of Docker's business.
    assert containers.find(layout, "ab", "moby").id == WEB


@pytest.mark.parametrize(
    ("known", "message", "hint"),
    [
        (
            f"{WEB} exited boxlite",
            "container web is not running: it is exited",
            "docker start web",
        ),
        (
            f"{WEB} running runc",
            "container web does not run in a machine: its runtime is runc",
            "docker top web shows its processes.",
        ),
    ],
)
def test_what_docker_knows_of_others_is_told(
    layout: Layout,
    monkeypatch: pytest.MonkeyPatch,
    known: str,
    message: str,
    hint: str,
) -> None:
    runs(layout, "moby", OTHER)
    docker(layout, monkeypatch, f"echo {known}")

    with pytest.raises(BoxliteError) as refused:
        containers.find(layout, "web")
    assert (refused.value.message, refused.value.hint) == (message, hint)


def test_what_nobody_knows_is_not_running(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    docker(layout, monkeypatch, "echo 'Error: No such container' >&2; exit 1")

    assert call("web") == ExitCode.FAILURE
    assert "no BoxLite container web is running\n" in capsys.readouterr().err
    assert call("web", "--namespace", "k8s.io") == ExitCode.FAILURE
    said = capsys.readouterr().err
    assert "ctr --namespace k8s.io task list shows what is." in said


def test_the_configuration_says_where_containers_are_kept(layout: Layout) -> None:
    layout.config.parent.mkdir(parents=True)
    layout.config.write_text('[paths]\nrun = "/run/elsewhere"\n')
    elsewhere = runs(replace(layout, run=Path("/run/elsewhere")), "moby", WEB)

    assert containers.find(layout, WEB).directory == elsewhere


def test_what_the_shim_refuses_is_told_in_its_words(
    layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    runs(layout, "default", "web")
    refusal = "containerd-shim-boxlite-v1: cannot look into a paused process"
    play(layout, f"echo '{refusal}' >&2; exit 1")

    assert call("web") == ExitCode.SUBPROCESS
    said = capsys.readouterr().err
    assert said.startswith("boxlite: cannot look into a paused process\n")


def test_an_answer_of_another_release_is_named(layout: Layout) -> None:
    runs(layout, "default", "web")
    play(layout, """echo '[{"pid": 1, "colour": "blue"}]'""")

    with pytest.raises(BoxliteError, match="does not speak of processes"):
        containers.processes(layout, containers.find(layout, "web"))


def test_only_root_may(
    layout: Layout,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    assert call("web") == ExitCode.HOST_UNFIT
    assert "Run it as root." in capsys.readouterr().err
