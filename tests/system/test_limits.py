# SPDX-License-Identifier: Apache-2.0
"""Limits are those asked for, to the byte, and they hold.

A host may still have cgroup v1, where runc shows v1's files; what BoxLite's
guest shows is v2's whatever the host has, so those are compared with what was
asked for and not with runc.
"""

import pytest

from tests.engines.docker import Docker
from tests.engines.waiting import until
from tests.system.both import Both

MIB = 1024 * 1024

LIMITS = (
    "--memory", "100m",
    "--memory-swap", "100m",
    "--memory-reservation", "50m",
    "--cpus", "0.5",
    "--pids-limit", "77",
)  # fmt: skip


@pytest.mark.boxlite_only
@pytest.mark.kvm
def test_the_guests_cgroup_holds_the_exact_limits(docker: Docker) -> None:
    files = ["memory.max", "memory.low", "memory.swap.max", "cpu.max", "pids.max"]
    script = f"cd /sys/fs/cgroup && cat {' '.join(files)}"
    found = dict(zip(files, docker.sh(script, *LIMITS).ok().lines, strict=True))
    assert found == {
        "memory.max": str(100 * MIB),
        "memory.low": str(50 * MIB),
        "memory.swap.max": "0",
        "cpu.max": "50000 100000",
        "pids.max": "77",
    }


@pytest.mark.boxlite_only
def test_without_limits_there_are_none(docker: Docker) -> None:
    script = "cd /sys/fs/cgroup && cat memory.max cpu.max pids.max"
    assert docker.sh(script).ok().lines == ["max", "max 100000", "max"]


@pytest.mark.core
@pytest.mark.kvm
def test_the_engine_is_told_of_a_kill_for_memory(both: Both) -> None:
    def scenario(docker: Docker) -> object:
        # tail keeps the last line, and zeroes have none.
        argv = ("tail", "/dev/zero")
        options = ("--memory", "40m", "--memory-swap", "40m")
        with docker.container(*options, argv=argv) as container:
            code = docker.wait(container)
            # runc's shim tells of it by an event of its own, which may come later.
            until("told of it", lambda: docker.state(container)["OOMKilled"] is True)
            return code, docker.state(container)["OOMKilled"]

    assert both.same(scenario) == (137, True)


def test_a_process_killed_for_memory_leaves_the_container_running(both: Both) -> None:
    options = ("--memory", "40m", "--memory-swap", "40m")
    script = "tail /dev/zero; echo $?"
    assert both.sh(script, *options).ok().lines == ["137"]


def test_the_limit_of_processes_holds(both: Both) -> None:
    script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done 2>&1; jobs | wc -l"
    result = both.same(lambda docker: docker.sh(script, "--pids-limit", "10").code)
    assert result != 0, "twelve processes ran where ten may"


def test_ulimits_are_those_of_the_first_process_and_of_exec(both: Both) -> None:
    options = (
        "--ulimit", "nofile=1234:2345",
        "--ulimit", "nproc=99:100",
        "--ulimit", "core=0",
        "--ulimit", "fsize=1048576",
        "--ulimit", "stack=4194304:8388608",
    )  # fmt: skip
    pattern = "Max (open files|processes|core|file size|stack)"
    show = f"grep -E '{pattern}' /proc/self/limits"
    lines = both.sh(show, *options).ok().lines
    assert [line.split()[-3:-1] for line in lines if "open" in line] == [
        ["1234", "2345"]
    ]
    with both.containers(options) as inside:
        assert inside.sh(show).ok().lines == lines


def test_limits_change_while_it_runs(both: Both) -> None:
    def scenario(docker: Docker) -> str:
        with docker.container("--memory", "100m") as container:
            docker("update", "--memory", "60m", "--memory-swap", "60m", container).ok()
            # tail is killed on its way to 80 MiB of one line.
            script = "head -c 80m /dev/zero | tail >/dev/null; echo $?"
            return docker.exec(container, "sh", "-c", script).ok().text

    assert both.same(scenario) == "137"


def test_a_limit_above_the_host_is_none(both: Both) -> None:
    assert (
        both.same(lambda docker: docker.sh("echo ran", "--memory", "9t").text) == "ran"
    )
