# SPDX-License-Identifier: Apache-2.0
"""How a measurement goes: what is typed, what is left out, what is refused.

The engine's command is a script in a temporary directory: no containers.
"""

import io
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import click
import pytest

from boxlite_runtime.bench import files, session, start
from boxlite_runtime.bench.session import Session, Wanted, unable
from boxlite_runtime.bench.words import CtrWords, DockerWords
from boxlite_runtime.cli.bench import group
from boxlite_runtime.errors import BoxliteError, ExitCode
from boxlite_runtime.process import run
from boxlite_runtime.progress import Step

#: Knows boxlite and runc; every other runtime starts nothing.
DOCKER = """\
#!/bin/sh
echo "$*" >>"$TYPED"
case "$*" in
info*) echo '{"boxlite": {}, "runc": {}}' ;;
*"--runtime boxlite "*|*"--runtime runc "*) ;;
*) printf 'docker: no such runtime\\nSee %s.\\n' "'docker run --help'" >&2; exit 125 ;;
esac
"""


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a docker on PATH that only remembers; return what was typed at it."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(DOCKER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("TYPED", str(tmp_path / "typed"))
    return tmp_path / "typed"


def opened(wanted: Wanted, scratch: Path) -> Session:
    words = DockerWords(None, "run", scratch, wanted.network)
    return Session(wanted, words, "image", {})


def test_a_start_is_timed_with_nothing_but_what_it_needs(tmp_path: Path) -> None:
    words = DockerWords("unix:///d.sock", "p1t2", tmp_path, "none")

    assert words.once("boxlite", "image", "name", ["true"]) == [
        "docker", "--host", "unix:///d.sock", "run", "--rm", "--runtime", "boxlite",
        "--label", "boxlite.conformance=p1t2", "--cidfile", str(tmp_path / "name"),
        "--network", "none", "image", "true",
    ]  # fmt: skip
    assert words.within("name", ["true"])[3:] == ["exec", "name", "true"]


def test_the_id_is_what_docker_wrote_down(tmp_path: Path) -> None:
    words = DockerWords(None, "p1t2", tmp_path)
    (tmp_path / "name").write_text("abc\n")

    assert words.identity("name") == "abc"
    assert words.identity("never made") == ""


def test_ctr_executes_under_an_id_of_its_own_each_time() -> None:
    words = CtrWords(None, "p1t2")

    first, second = (words.within("name", ["true"]) for _ in range(2))

    assert first[-5:] == ["exec", "--exec-id", "e1", "name", "true"]
    assert second[-3:] == ["e2", "name", "true"]
    assert words.identity("name") == "name"


def test_names_are_new_and_none_is_found_in_another(tmp_path: Path) -> None:
    found = opened(Wanted("boxlite", "runc"), tmp_path)

    names = [found.fresh() for _ in range(12)]

    assert len({*names}) == 12
    assert not any(a in b for a in names for b in names if a != b)


def test_one_asked_for_beside_is_left_out_with_the_way_to_get_it(
    typed: Path, tmp_path: Path
) -> None:
    found = opened(Wanted("boxlite", "runc", also=("runsc", "runc")), tmp_path)

    assert found.warm() == ["runc", "boxlite"]
    (note,) = found.notes
    assert note.startswith(
        "skipped: runsc starts nothing here: docker: no such runtime"
    )
    assert "apt-get install runsc" in note
    assert typed.read_text().count("--rm") == 3


@pytest.mark.usefixtures("typed")
def test_one_that_is_compared_must_start(tmp_path: Path) -> None:
    found = opened(Wanted("boxlight", "runc"), tmp_path)

    with pytest.raises(BoxliteError, match="boxlight starts nothing here") as refused:
        found.warm()
    assert refused.value.exit_code is ExitCode.HOST_UNFIT


@pytest.mark.usefixtures("typed")
def test_starts_at_once_that_fail_are_counted(tmp_path: Path) -> None:
    found = opened(Wanted("boxlite", "runc"), tmp_path)
    broken = found.once("runsc", "broken")

    wrong = start._together(found, [found.once("runc", "fine"), broken, broken])

    assert len(wrong) == 2
    assert unable("runsc", wrong[0]).endswith("docker: no such runtime")


@pytest.mark.usefixtures("typed")
def test_without_a_log_there_are_no_phases_and_a_word(tmp_path: Path) -> None:
    found = opened(Wanted("boxlite", "runc"), tmp_path)

    (measure,), phases = start.serial(found, 2, start.Log(None))

    assert [len(values) for values in measure.values.values()] == [2, 2]
    assert phases == {}
    assert "--log names" in found.notes[0]


def test_of_a_log_only_what_is_new_is_heard(tmp_path: Path) -> None:
    file = tmp_path / "containerd.log"
    file.write_text("before\n")
    log = start.Log(file)

    with log.heard(), file.open("a") as writer:
        writer.write("while\n")

    assert log.lines == ["while"]
    assert start.found_log(file) == file


def test_a_log_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    log = start.Log(tmp_path / "absent")

    with pytest.raises(BoxliteError, match="cannot read"), log.heard():
        pass


def test_an_image_of_the_engines_is_not_measured_through_ctr(tmp_path: Path) -> None:
    wanted = Wanted("boxlite", "runc", engine="ctr", image="nginx")

    with pytest.raises(BoxliteError, match="nginx cannot be measured"):
        session._image(wanted, CtrWords(None, "run"))
    docker = Wanted("boxlite", "runc", image="nginx")
    assert session._image(docker, DockerWords(None, "run", tmp_path)) == "nginx"


def test_the_network_is_dockers() -> None:
    words = ["start", "--engine", "ctr", "--network", "none"]

    with pytest.raises(click.UsageError, match="Docker's"):
        group.main(words, standalone_mode=False)


def test_a_work_is_told_in_its_unit() -> None:
    writing = files.Work("write", "MB/s", ":", amount=200.0)
    unpacking = files.Work("untar", "s", ":")

    assert writing.value(500_000_000) == 400.0
    assert unpacking.value(500_000_000) == 0.5


def test_a_script_prints_what_its_work_takes(tmp_path: Path) -> None:
    script = files.clocked('echo not the time; : >"$new/made"')
    place = PurePosixPath(tmp_path / "place")

    said = run(files.within(place, script)).stdout

    assert 0 < files.taken(said, "it") < 60e9
    (made,) = (tmp_path / "place").glob("new.*/*")
    assert made.name == "made"


def test_a_script_that_fails_ends_with_it(tmp_path: Path) -> None:
    words = files.within(PurePosixPath(tmp_path), files.clocked("false"))

    assert run(words, check=False).returncode != 0


def test_a_time_that_is_not_told_is_an_error() -> None:
    assert files.taken("0\n", "it") == 1
    with pytest.raises(BoxliteError, match="untar does not tell its time"):
        files.taken("tar: bad\n", "untar")


class Answering(Session):
    """A session without an engine: what is said is told beforehand."""

    answers: list[str]

    def keep(self, runtime: str, flags: Sequence[str] = ()) -> str:
        return self.fresh()

    def end(self, name: str) -> None:
        self.notes.append(f"ended {name}")

    def said(self, name: str, words: Sequence[str], timeout: float = 1.0) -> str:
        if self.answers:
            return self.answers.pop()
        raise BoxliteError("docker ended with 2\n  | tar: no more")


@pytest.mark.parametrize(
    ("answers", "outcome", "note"),
    [
        (6, ({"runc": [2.0, 2.0], "boxlite": [2.0, 2.0]}, {}), None),
        (3, ({}, {"boxlite": 1}), "failed: untar, volume, boxlite: tar: no more"),
        (1, None, "left out: untar, volume, boxlite: tar: no more"),
    ],
)
def test_a_work_is_measured_left_out_or_failed(
    tmp_path: Path,
    answers: int,
    outcome: tuple[dict[str, list[float]], dict[str, int]] | None,
    note: str | None,
) -> None:
    words = DockerWords(None, "run", tmp_path)
    found = Answering(Wanted("boxlite", "runc"), words, "image", {})
    found.answers = ["2000000000\n"] * answers
    kept = {"runc": "r", "boxlite": "b"}
    sides = files.Sides(found, "v", {"runc": 0, "boxlite": 1}, kept)
    work = files.Work("untar", "s", ":", many=True)

    measure = files._measured(sides, work, "volume", 2, Step("it", io.StringIO()))

    assert (measure and (measure.values, measure.failed)) == outcome
    assert len([n for n in found.notes if n.startswith("ended")]) == answers
    assert [n for n in found.notes if not n.startswith("ended")] == [note] * bool(note)


def test_each_runtime_has_a_place_of_its_own_on_the_volume() -> None:
    assert files.directory("volume", 0) != files.directory("volume", 1)
    assert files.directory("root filesystem", 0) == files.PLACES["root filesystem"]
