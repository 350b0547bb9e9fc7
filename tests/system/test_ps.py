# SPDX-License-Identifier: Apache-2.0
"""``boxlite ps`` tells what runs in a machine, which no engine can."""

import json
import os
from pathlib import Path

import pytest

from boxlite_runtime import cli
from tests.engines.ctr import Ctr
from tests.engines.docker import IDLE, Docker
from tests.engines.pair import Pair
from tests.engines.waiting import until

pytestmark = pytest.mark.boxlite_only


@pytest.fixture(autouse=True)
def _this_pair(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the command ask this pair's Docker, where it has one."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{pair.docker_socket}")
    if pair.programs.docker is not None:
        directory = str(Path(pair.programs.docker).parent)
        monkeypatch.setenv("PATH", os.pathsep.join([directory, os.environ["PATH"]]))


def ps(*words: str) -> int:
    """Run ``boxlite ps WORDS`` and return its exit code."""
    with pytest.raises(SystemExit) as left:
        cli.main(["ps", *words])
    return int(left.value.code or 0)


@pytest.mark.core
def test_a_containers_processes_are_told_by_its_name(
    docker: Docker, capsys: pytest.CaptureFixture[str]
) -> None:
    with docker.container("--user", "1000", argv=IDLE) as container:
        until("its shell sleeps", lambda: docker.exec(container, "pidof", "sleep").text)
        name = docker("inspect", "--format", "{{.Name}}", container).ok().text
        for word in (name.removeprefix("/"), container[:12]):
            assert ps(word, "--json") == 0
            found = json.loads(capsys.readouterr().out)
            assert [p["pid"] for p in found[:1]] == [1]
            assert {(p["parent"], p["uid"]) for p in found[1:]} == {(1, 1000)}
        # What an engine is told is a process of the host that says what runs.
        assert "qemu-system" not in docker("top", container).ok().text
        docker("pause", container).ok()
        assert ps(container) == 4
        assert "cannot look into a paused process" in capsys.readouterr().err
        docker("unpause", container).ok()
        docker("stop", container).ok()
        assert ps(container) == 1
        assert f"docker start {container}" in capsys.readouterr().err


def test_a_container_without_a_machine_is_named_as_such(
    docker: Docker, capsys: pytest.CaptureFixture[str]
) -> None:
    with docker.using("runc").container() as container:
        assert ps(container) == 1
        assert "its runtime is runc" in capsys.readouterr().err


def test_a_container_of_ctrs_is_found_by_its_namespace(
    ctrs: tuple[Ctr, Ctr], capsys: pytest.CaptureFixture[str]
) -> None:
    ctr = ctrs[1]
    with ctr.container(*IDLE) as name:
        assert ps(name, "--namespace", ctr.namespace, "--json") == 0
        assert json.loads(capsys.readouterr().out)[0]["pid"] == 1
        pids = ctr("task", "ps", name).ok().lines[1:]
        assert [int(line.split()[0]) for line in pids] == [ctr.tasks()[name][0]]
        assert ps(name, "--namespace", "elsewhere") == 1
        assert "in the namespace elsewhere" in capsys.readouterr().err
