# SPDX-License-Identifier: Apache-2.0
"""What is done while exits are counted, without an engine and without a kernel."""

import subprocess
import threading
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from boxlite_runtime.bench.exits import inside, machine, works
from boxlite_runtime.bench.exits.counts import Counts
from boxlite_runtime.bench.exits.trace import Trace
from boxlite_runtime.bench.session import Session, Wanted
from boxlite_runtime.bench.words import DockerWords
from boxlite_runtime.errors import BoxliteError


@dataclass(frozen=True)
class Kernel(Trace):
    """Counts what a machine is said to have done, and forgets it when cleared."""

    done: dict[str, float] = field(default_factory=dict)
    threads: list[Set[int]] = field(default_factory=list)

    def clear(self) -> None:
        self.done.clear()

    def counts(self, threads: Set[int]) -> Counts:
        self.threads.append(threads)
        return {"exits": 0.0, **self.done}


class Acting(Session):
    """A session whose containers cost 1000 exits to start, 10 an exec, 7 to end."""

    kernel: Kernel
    costs: dict[str, float]
    typed: list[str]
    refused = ""

    def warm(self) -> list[str]:
        return [self.wanted.runtime]

    def spend(self, what: str) -> None:
        self.kernel.done["exits"] = self.kernel.done.get("exits", 0) + self.costs[what]
        self.typed.append(what)

    def keep(self, runtime: str, flags: Sequence[str] = ()) -> str:
        self.spend("start")
        return self.fresh()

    def end(self, name: str) -> None:
        self.spend("stop")

    def said(self, name: str, words: Sequence[str], timeout: float = 1.0) -> str:
        script = words[-1]
        if self.refused and script.startswith(self.refused):
            raise BoxliteError("docker ended with 1\n  | rm: not empty")
        self.spend("untar" if "tar -xf" in script else "exec")
        return "\0" * (inside.MIB << 20) if words[0] == "dd" else ""


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Acting:
    """A session whose machine has the thread 5."""
    for name in ("SETTLE", "IDLE"):
        monkeypatch.setattr(works, name, 0.001)

    class Running(machine.Machine):
        def threads(self) -> frozenset[int]:
            return frozenset({5})

        def gone(self) -> None:
            acting.typed.append("gone")

    monkeypatch.setattr(
        machine, "under_kvm", lambda _: Running(4, "kvm", restored=True)
    )
    words = DockerWords(None, "run", tmp_path)
    acting = Acting(Wanted("boxlite", "boxlite"), words, "image", {})
    acting.kernel = Kernel(tmp_path)
    acting.costs = {"start": 1000.0, "stop": 7.0, "exec": 10.0, "untar": 2010.0}
    acting.typed = []

    def executed(_: object) -> float:
        acting.spend("exec")
        return 1.0

    monkeypatch.setattr(works, "timed", executed)
    return acting


def test_a_start_is_counted_by_the_threads_that_its_machine_has_after_it(
    session: Acting,
) -> None:
    (start,), method = works.measured(session, session.kernel, 2, ["start"])

    assert start.name == "start"
    assert start.values == {"exits": [1000.0, 1000.0]}
    assert session.kernel.threads[0] == {5}
    assert method == {"starts": "from a template"}


def test_a_stop_is_counted_until_its_machine_has_gone(session: Acting) -> None:
    (stop,), _ = works.measured(session, session.kernel, 1, ["stop"])

    assert stop.values == {"exits": [7.0]}
    assert session.typed == ["start", "stop", "gone"]


def test_of_what_a_command_does_its_own_exits_are_taken_off(
    session: Acting,
) -> None:
    found, _ = works.measured(session, session.kernel, 2, ["files"])

    values = {measure.name: measure.values["exits"] for measure in found}
    assert values == {
        "file unpacked": [2000 / inside.FILES] * 2,
        "file read": [0.0, 0.0],
        "file removed": [0.0, 0.0],
    }


def test_what_fails_has_a_note_and_the_rest_is_counted(session: Acting) -> None:
    session.refused = "rm "

    found, _ = works.measured(session, session.kernel, 2, ["files"])

    *others, removed = found
    assert all(measure.values for measure in others)
    assert (removed.values, removed.failed) == ({}, {"boxlite": 1})
    assert session.notes == ["failed: file removed: rm: not empty"]


def test_a_first_time_is_not_counted(session: Acting) -> None:
    found, _ = works.measured(session, session.kernel, 2, ["exec"])

    assert [m.values for m in found] == [{"exits": [10.0, 10.0]}]
    assert session.typed.count("exec") == 3


def test_a_machine_without_exits_is_not_believed(session: Acting) -> None:
    session.costs = dict.fromkeys(session.costs, 0.0)

    with pytest.raises(BoxliteError, match="no exit of theirs"):
        works.measured(session, session.kernel, 1, ["start"])
    with pytest.raises(BoxliteError, match="no exit of theirs"):
        works.measured(session, session.kernel, 1, ["exec"])


def test_an_idle_second_may_have_none(session: Acting) -> None:
    (idle,), method = works.measured(session, session.kernel, 1, ["idle"], rest=0.001)

    assert (idle.name, idle.values) == ("idle second", {"exits": [0.0]})
    assert method["rest"] == "0.001 s"


def test_files_to_read_are_new_each_time(session: Acting, tmp_path: Path) -> None:
    unpack, read, remove = inside.Files(tmp_path).works(session, "name")

    for _ in range(2):
        read.before()

    assert len(list(tmp_path.glob("tree*/*/*"))) == 2 * inside.FILES
    assert (tmp_path / "tree1/3/199").read_bytes() == b"%01023d\n" % 199
    assert unpack.amount == read.amount == remove.amount == inside.FILES


def test_bytes_that_miss_are_an_error() -> None:
    inside._carried(inside.MIB << 20)
    with pytest.raises(BoxliteError, match="9 arrived"):
        inside._carried(9)


class Server(BaseHTTPRequestHandler):
    """Says what the server in the container says."""

    said = b"served\n"
    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.said)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing on stderr."""


@pytest.fixture
def port() -> Iterator[int]:
    """The port of a server."""
    Server.asked, Server.said = 0, b"served\n"
    with HTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_each_request_is_answered_and_has_a_connection_of_its_own(port: int) -> None:
    inside.ask(port)

    assert Server.asked == inside.REQUESTS


def test_another_answer_is_an_error(port: int) -> None:
    Server.said = b"something else"

    with pytest.raises(BoxliteError, match="says 200"):
        inside.ask(port)


def test_a_port_where_nobody_answers_is_an_error(port: int) -> None:
    with pytest.raises(BoxliteError, match="no answer through the published port"):
        inside.ask(1)


def test_the_end_of_a_machine_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        found = machine.Machine(child.pid, "kvm", restored=False)
        assert found.threads() == {child.pid}
        monkeypatch.setattr(machine, "END", 0.01)
        with pytest.raises(BoxliteError, match="has not ended"):
            found.gone()
        child.kill()
        monkeypatch.setattr(machine, "END", 60.0)
        found.gone()
    found.gone()
    with pytest.raises(BoxliteError, match="ended by itself"):
        found.threads()


@pytest.mark.parametrize(
    ("accel", "message"), [("tcg", "under tcg here"), ("", "under no accelerator")]
)
def test_machines_that_are_not_under_kvm_have_no_exits(
    accel: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        machine, "of", lambda _: machine.Machine(1, accel, restored=True)
    )

    with pytest.raises(BoxliteError, match=message) as refused:
        machine.under_kvm("id")
    assert refused.value.hint
