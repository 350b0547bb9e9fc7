# SPDX-License-Identifier: Apache-2.0
"""containerd without Docker: ctr hands the root filesystem over as mounts."""

import hashlib
import re
import subprocess
import threading
from collections.abc import Callable
from typing import TypeVar

import pytest

from tests.engines import images
from tests.engines.command import Result
from tests.engines.ctr import Ctr, without_log
from tests.engines.waiting import allowed, until
from tests.system.both import assert_equal

T = TypeVar("T")

Ctrs = tuple[Ctr, Ctr]

IDLE = ("sh", "-c", "trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done")

#: ctr may give up a process's output that ends before ctr has opened it, with
#: runc as well; so what runs among others stays until its output was fetched.
LINGER = "sleep 0.3"


def exit_code(deleted: Result) -> int:
    """Return the exit code that ``ctr task delete`` tells in a warning."""
    found = re.search(r"exit with non-zero exit code (\d+)", deleted.ok().errors)
    return int(found[1]) if found else 0


def same(ctrs: Ctrs, scenario: Callable[[Ctr], T]) -> T:
    """Run ``scenario`` under each runtime; fail unless the values are equal."""
    expected, found = (scenario(ctr) for ctr in ctrs)
    assert_equal(ctrs[1].runtime, found, ctrs[0].runtime, expected)
    return found


@pytest.mark.core
@pytest.mark.kvm
def test_run_gives_output_and_exit_code(ctrs: Ctrs) -> None:
    script = "echo out; echo err >&2; id -u; pwd; exit 42"
    result = same(ctrs, lambda ctr: ctr.run("sh", "-c", script))
    assert (result.code, result.stdout) == (42, b"out\n0\n/\n")
    assert result.stderr.startswith(b"err\n")


@pytest.mark.core
def test_options_reach_the_process(ctrs: Ctrs) -> None:
    options = (
        "--env", "ONE=1", "--cwd", "/srv", "--user", "1000:1000", "--read-only",
        "--mount", "type=tmpfs,src=tmpfs,dst=/mnt,options=size=64k",
    )  # fmt: skip
    script = "echo $ONE; pwd; id; touch /tmp/x; df -P -k /mnt | awk 'NR>1 {print $2}'"
    result = same(ctrs, lambda ctr: ctr.run("sh", "-c", script, options=options))
    assert result.lines[:2] == ["1", "/srv"] and result.lines[-1] == "64"
    assert b"Read-only file system" in result.stderr


@pytest.mark.core
def test_a_burst_is_whole_though_the_container_is_deleted_at_once(ctrs: Ctrs) -> None:
    result = same(ctrs, lambda ctr: ctr.run("cat", "/srv/blob"))
    assert result.code == 0
    digest = hashlib.sha256(images.blob()).hexdigest()
    assert hashlib.sha256(result.stdout).hexdigest() == digest


@pytest.mark.core
def test_the_root_filesystem_takes_writes_and_forgets_them(ctrs: Ctrs) -> None:
    script = "test -e /new && exit 1; echo new >/new; cat /new; rm /srv/readonly"
    assert same(ctrs, lambda ctr: [ctr.run("sh", "-c", script).code] * 2) == [0, 0]


@pytest.mark.core
def test_a_task_is_listed_executed_in_killed_and_deleted(ctrs: Ctrs) -> None:
    def scenario(ctr: Ctr) -> object:
        with ctr.container(*IDLE) as name:
            pid, status = ctr.tasks()[name]
            assert pid > 1
            inner = without_log(ctr(
                "task", "exec", "--exec-id", "one", "--user", "1000", name,
                "sh", "-c", f"id -u; echo err >&2; {LINGER}; exit 7",
            ))  # fmt: skip
            again = ctr(
                "task",
                "exec",
                "--exec-id",
                "one",
                name,
                "sh",
                "-c",
                f"echo again; {LINGER}",
            ).ok()
            processes = ctr("task", "ps", name).ok()
            assert len(processes.lines) >= 2
            ctr("task", "kill", "--signal", "TERM", name).ok()
            until("it stopped", lambda: ctr.tasks()[name][1] == "STOPPED")
            deleted = ctr("task", "delete", name)
            assert name not in ctr.tasks()
            said = inner.code, inner.stdout, inner.errors.startswith("err\n")
            return status, said, again.text, exit_code(deleted)

    expected = ("RUNNING", (7, b"1000\n", True), "again", 9)
    assert same(ctrs, scenario) == expected


@pytest.mark.core
def test_a_task_killed_has_137(ctrs: Ctrs) -> None:
    def scenario(ctr: Ctr) -> int:
        with ctr.container(*IDLE) as name:
            ctr("task", "kill", "--signal", "SIGKILL", name).ok()
            until("it stopped", lambda: ctr.tasks()[name][1] == "STOPPED")
            return exit_code(ctr("task", "delete", name))

    assert same(ctrs, scenario) == 137


@pytest.mark.core
def test_a_command_that_is_absent_leaves_no_task(ctrs: Ctrs) -> None:
    def scenario(ctr: Ctr) -> object:
        result = ctr.run("absent")
        assert "executable file not found in $PATH" in result.errors
        return result.code, ctr.tasks()

    assert same(ctrs, scenario) == (1, {})


def test_a_reader_that_stops_stops_nothing_else(ctrs: Ctrs) -> None:
    def scenario(ctr: Ctr) -> object:
        name = ctr.name()
        script = "trap 'exit 5' TERM; yes & wait"
        endless = ctr.run_words(name, "sh", "-c", script, options=("--rm",))
        with ctr.background(*endless) as client, ctr.container(*IDLE) as other:
            try:
                # One byte shows that it runs; then nobody reads any more.
                assert client.stdout is not None
                assert client.stdout.read(1) == b"y"
                words = ("task", "exec", "--exec-id", "one")
                script = f"echo heard; {LINGER}"
                inside = ctr(*words, name, "sh", "-c", script).ok().text
                beside = ctr(*words, other, "sh", "-c", script).ok().text
                # It ends by itself, with output on its way.
                ctr("task", "kill", "--signal", "TERM", name).ok()
                until("it stopped", lambda: ctr.tasks()[name][1] == "STOPPED")
                # Read on, so that ctr ends and removes what it made.
                client.communicate(timeout=allowed(15))
                return inside, beside, client.returncode
            finally:
                ctr.remove(name)

    assert same(ctrs, scenario) == ("heard", "heard", 5)


@pytest.mark.core
def test_events_come_in_order(ctrs: Ctrs) -> None:
    expected = [f"/tasks/{what}" for what in ("create", "start", "exit", "delete")]

    def scenario(ctr: Ctr) -> list[str]:
        topics: list[str] = []
        seen = threading.Event()

        def read(events: subprocess.Popen[bytes]) -> None:
            assert events.stdout is not None
            for line in events.stdout:
                topic = next(
                    (w for w in line.decode().split() if w.startswith("/tasks/")), ""
                )
                topics.append(topic)
                if set(expected) <= set(topics):
                    seen.set()

        with ctr.background("events") as events:
            reader = threading.Thread(target=read, args=(events,))
            reader.start()
            # ctr says nothing when it listens; so run until it has heard one.
            while not seen.is_set():
                topics.clear()
                ctr.run("true").ok()
                seen.wait(1)
        reader.join()
        return [topic for topic in topics if topic][-4:]

    # runc's shim may tell of the exit after containerd has told of the deletion.
    assert sorted(scenario(ctrs[0])) == sorted(expected)
    assert scenario(ctrs[1]) == expected


@pytest.mark.core
@pytest.mark.parametrize("count", [5])
def test_containers_started_together_all_run(ctrs: Ctrs, count: int) -> None:
    def scenario(ctr: Ctr) -> list[bytes]:
        results: list[bytes] = [b""] * count

        def one(number: int) -> None:
            script = f"echo {number}; {LINGER}"
            results[number] = ctr.run("sh", "-c", script).stdout

        threads = [threading.Thread(target=one, args=(n,)) for n in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results

    assert same(ctrs, scenario) == [b"%d\n" % number for number in range(count)]
