# SPDX-License-Identifier: Apache-2.0
"""From create to remove: what the engine says about a container is so."""

import time
from datetime import datetime, timedelta

import pytest

from tests.engines import processes
from tests.engines.docker import Docker
from tests.engines.images import IMAGE
from tests.engines.waiting import allowed, until
from tests.system.both import Both

#: Says hello, then on TERM good-bye, and ends with 9.
POLITE = (
    "sh", "-c", "trap 'echo bye; exit 9' TERM; echo hello; while :; do sleep 0.1; done",
)  # fmt: skip
#: Hears no TERM.
DEAF = ("sh", "-c", "trap '' TERM; echo hello; while :; do sleep 0.1; done")


def says_hello(docker: Docker, container: str, times: int = 1) -> None:
    """Wait until the script in a container has set its traps, so often by now."""
    until("hello", lambda: docker("logs", container).stdout == b"hello\n" * times)


def when(text: str) -> datetime:
    """Return a time of docker inspect, which has nanoseconds."""
    return datetime.fromisoformat(text[:19] + "+00:00")


@pytest.mark.core
def test_stop_is_term_and_gives_time_to_end(both: Both) -> None:
    def scenario(docker: Docker) -> object:
        with docker.container(argv=POLITE) as container:
            says_hello(docker, container)
            stopped = docker("stop", "--time", f"{allowed(20):.0f}", container).ok()
            assert stopped.seconds < allowed(15), "it was killed, not asked"
            state = docker.state(container)
            return state["Status"], state["ExitCode"], docker("logs", container).stdout

    assert both.same(scenario) == ("exited", 9, b"hello\nbye\n")


def test_stop_kills_what_does_not_end_in_time(both: Both) -> None:
    def scenario(docker: Docker) -> object:
        with docker.container(argv=DEAF) as container:
            says_hello(docker, container)
            stopped = docker("stop", "--time", "1", container).ok()
            assert stopped.seconds >= 1
            return docker.state(container)["ExitCode"]

    assert both.same(scenario) == 137


@pytest.mark.core
@pytest.mark.kvm
def test_kill_sends_any_signal_and_kill_ends(both: Both) -> None:
    script = (
        "trap 'echo usr1' USR1; trap 'echo hup' HUP; echo hello;"
        "while :; do sleep 0.1; done"
    )

    def scenario(docker: Docker) -> object:
        with docker.container(argv=("sh", "-c", script)) as container:
            says_hello(docker, container)
            docker("kill", "--signal", "USR1", container).ok()
            docker("kill", "--signal", "1", container).ok()
            until("both heard", lambda: len(docker("logs", container).lines) == 3)
            docker("kill", container).ok()
            code = docker.wait(container)
            again = docker("kill", container)
            assert "is not running" in again.errors
            return code, again.code, sorted(docker("logs", container).lines)

    assert both.same(scenario) == (137, 1, ["hello", "hup", "usr1"])


@pytest.mark.core
def test_inspect_tells_state_times_and_pid(both: Both) -> None:
    def scenario(docker: Docker) -> object:
        began = datetime.fromtimestamp(int(time.time()), tz=None).astimezone()
        with docker.container(argv=POLITE) as container:
            running = docker.state(container)
            pid = running["Pid"]
            assert processes.alive(pid)
            assert began - timedelta(seconds=1) <= when(running["StartedAt"])
            docker("stop", container).ok()
            ended = docker.state(container)
            assert when(running["StartedAt"]) <= when(ended["FinishedAt"])
            assert when(ended["FinishedAt"]) <= datetime.now().astimezone()
            until("its process is gone", lambda: not processes.alive(pid))
            names = ("Status", "Running", "Paused", "OOMKilled", "Dead", "Error")
            return [[state[name] for name in names] for state in (running, ended)]

    assert both.same(scenario) == [
        ["running", True, False, False, False, ""],
        ["exited", False, False, False, False, ""],
    ]


@pytest.mark.core
def test_restart_is_a_new_process_over_the_same_files(both: Both) -> None:
    script = (
        "trap 'exit 0' TERM; echo x >>/runs; echo hello; while :; do sleep 0.1; done"
    )

    def scenario(docker: Docker) -> object:
        with docker.container(argv=("sh", "-c", script)) as container:
            says_hello(docker, container)
            first = docker.state(container)
            docker("restart", "--time", "10", container).ok()
            second = docker.state(container)
            assert first["Pid"] != second["Pid"]
            assert first["StartedAt"] < second["StartedAt"]
            # Without its trap it would hear no TERM, and stopping take its time.
            says_hello(docker, container, times=2)
            docker("stop", container).ok()
            docker("start", container).ok()
            says_hello(docker, container, times=3)
            runs = docker.exec(container, "cat", "/runs").ok().text
            return runs, docker.state(container)["Status"]

    assert both.same(scenario) == ("x\nx\nx", "running")


@pytest.mark.core
def test_a_restart_policy_starts_it_again(both: Both) -> None:
    def scenario(docker: Docker) -> object:
        policy = ("--restart", "on-failure:2")
        with docker.container(*policy, argv=("sh", "-c", "exit 3")) as container:
            until(
                "it was started three times",
                lambda: (
                    docker.inspect(container)["RestartCount"] == 2
                    and docker.state(container)["Status"] == "exited"
                ),
                30,
            )
            return docker.state(container)["ExitCode"]

    assert both.same(scenario) == 3


def test_wait_ends_with_the_container_and_tells_its_code(both: Both) -> None:
    def scenario(docker: Docker) -> object:
        with docker.container(argv=POLITE) as container:
            says_hello(docker, container)
            with docker.background("wait", container) as waiting:
                docker("kill", "--signal", "TERM", container).ok()
                out, _ = waiting.communicate(timeout=allowed(15))
                return waiting.returncode, out

    assert both.same(scenario) == (0, b"9\n")


@pytest.mark.core
@pytest.mark.kvm
def test_a_paused_container_stands_still_until_it_goes_on(both: Both) -> None:
    def scenario(docker: Docker) -> object:
        with docker.container(argv=POLITE) as container:
            docker("pause", container).ok()
            paused = docker.state(container)["Status"]
            refused = docker.exec(container, "true")
            docker("unpause", container).ok()
            alive = docker.exec(container, "echo", "alive").ok().text
            return paused, refused.code, alive, docker.state(container)["Status"]

    assert both.same(scenario) == ("paused", 1, "alive", "running")


@pytest.mark.kvm
def test_the_date_is_right_after_a_pause_and_no_clock_goes_back(both: Both) -> None:
    def clocks(docker: Docker, container: str) -> tuple[float, float]:
        words = docker.exec(container, "probe", "clock").ok().text.split()
        return int(words[0]) / 1e9, int(words[3]) / 1e9

    def scenario(docker: Docker) -> tuple[bool, bool]:
        with docker.container() as container:
            _, earlier = clocks(docker, container)
            docker("pause", container).ok()
            # Longer than it takes to ask for the time.
            over = time.time() + 5
            until("it stood still", lambda: time.time() >= over)
            docker("unpause", container).ok()
            asked = time.time()
            wall, later = clocks(docker, container)
            return asked - 0.1 <= wall <= time.time() + 0.1, later >= earlier

    assert both.same(scenario) == (True, True)


@pytest.mark.core
def test_a_paused_container_is_measured_at_once(both: Both) -> None:
    def scenario(docker: Docker) -> object:
        with docker.container() as container:
            docker("pause", container).ok()
            shown = docker(
                "stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", container
            ).ok()
            docker("unpause", container).ok()
            used, pids = shown.text.split()[0], shown.text.split()[-1]
            return used not in ("0B", "--"), int(pids) > 0, shown.seconds < allowed(10)

    assert both.same(scenario) == (True, True, True)


@pytest.mark.core
def test_stop_asks_a_paused_container_too(both: Both) -> None:
    def scenario(docker: Docker) -> object:
        with docker.container(argv=POLITE) as container:
            says_hello(docker, container)
            docker("pause", container).ok()
            stopped = docker("stop", "--time", f"{allowed(20):.0f}", container).ok()
            assert stopped.seconds < allowed(15), "it was killed, not asked"
            state = docker.state(container)
            return state["Status"], state["ExitCode"], docker("logs", container).stdout

    assert both.same(scenario) == ("exited", 9, b"hello\nbye\n")


@pytest.mark.boxlite_only
def test_limits_of_a_paused_container_stay_until_it_goes_on(docker: Docker) -> None:
    with docker.container("--memory", "64m") as container:
        docker("pause", container).ok()
        more = ("update", "--memory", "80m", "--memory-swap", "80m", container)
        refused = docker(*more)
        assert refused.code != 0 and refused.seconds < allowed(5)
        assert "cannot update a paused process" in refused.errors
        docker("unpause", container).ok()
        held = docker.exec(container, "cat", "/sys/fs/cgroup/memory.max").ok().text
        assert int(held) == 64 << 20
        docker(*more).ok()
        held = docker.exec(container, "cat", "/sys/fs/cgroup/memory.max").ok().text
        assert int(held) == 80 << 20


@pytest.mark.core
def test_a_forced_removal_ends_a_running_container(both: Both) -> None:
    def scenario(docker: Docker) -> object:
        container = docker.start(argv=DEAF)
        with docker.removal(container):
            pid = docker.state(container)["Pid"]
            removed = docker("rm", "--force", container)
            until("its process is gone", lambda: not processes.alive(pid), 5)
            return removed.code, docker("inspect", container).code

    assert both.same(scenario) == (0, 1)


def test_a_name_can_be_used_again_at_once(both: Both) -> None:
    def scenario(docker: Docker) -> list[int]:
        words = ("--rm", "--name", f"again-{docker.runtime}", IMAGE, "true")
        return [docker.run(*words).code for _ in range(3)]

    assert both.same(scenario) == [0, 0, 0]


@pytest.mark.core
@pytest.mark.kvm
def test_stats_and_top_know_a_running_container(both: Both) -> None:
    def scenario(docker: Docker) -> object:
        with docker.container() as container:
            shown = docker(
                "stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", container
            ).ok()
            used, pids = shown.text.split()[0], shown.text.split()[-1]
            assert used not in ("0B", "--"), shown.text
            assert int(pids) >= 1, shown.text
            top = docker("top", container, "-o", "pid,args").ok()
            return len(top.lines) >= 2

    assert both.same(scenario) is True
