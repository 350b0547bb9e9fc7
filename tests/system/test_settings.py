# SPDX-License-Identifier: Apache-2.0
"""What a container has of its host without asking: resource limits and settings.

The settings that are compared as they are, without a change, are cases of
``boxlite_runtime/conformance/cases/settings.yaml``.
"""

import resource
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from boxlite_runtime.templates.shim import Template
from tests.engines import settings
from tests.engines.docker import Docker
from tests.engines.pair import Pair
from tests.system.both import Both

#: Soft limits unlike any kernel's own. Not the hard ones: who lowers these may
#: not be allowed to raise them again.
SOFT = {
    resource.RLIMIT_NOFILE: 5432,
    resource.RLIMIT_STACK: 5 << 20,
    resource.RLIMIT_CORE: 12288,
    resource.RLIMIT_NPROC: 4321,
    resource.RLIMIT_MEMLOCK: 98304,
    resource.RLIMIT_SIGPENDING: 3210,
    resource.RLIMIT_MSGQUEUE: 65432,
}
REQUIRED = "--annotation=io.boxlite.template=required"
SYSCTLS = Path("/proc/sys")


@contextmanager
def soft_limits(pid: int, limits: Mapping[int, int]) -> Iterator[None]:
    """Have a process, and what it starts, live with other limits for a while."""
    before = {
        number: resource.prlimit(pid, number, (soft, resource.prlimit(pid, number)[1]))
        for number, soft in limits.items()
    }
    try:
        yield
    finally:
        for number, limit in before.items():
            resource.prlimit(pid, number, limit)


@contextmanager
def setting(name: str, value: str) -> Iterator[None]:
    """Give the host another setting for a while."""
    path = SYSCTLS / name
    before = path.read_text()
    path.write_text(value)
    try:
        yield
    finally:
        path.write_text(before)


@contextmanager
def larger_by_one(*names: str) -> Iterator[dict[str, str]]:
    """Add one to settings of the host for a while; what they are then."""
    values = {name: str(int((SYSCTLS / name).read_text()) + 1) for name in names}
    with ExitStack() as stack:
        for name, value in values.items():
            stack.enter_context(setting(name, value))
        yield values


def seen(docker: Docker, names: Mapping[str, str], *options: str) -> dict[str, str]:
    """What a container has for these, as far as its kernel shows them to it."""
    files = " ".join(names)
    script = f'cd /proc/sys; for f in {files}; do [ -e $f ] && echo "$f $(cat $f)"; done; true'
    lines = docker.sh(script, *options).ok().lines
    return dict(line.split(maxsplit=1) for line in lines)


@pytest.mark.core
def test_limits_that_nobody_names_are_those_of_the_engine(
    both: Both, pair: Pair
) -> None:
    with soft_limits(pair.containerd_pid, SOFT), both.containers() as inside:
        lines = inside.sh("cat /proc/1/limits").ok().lines
        found = {line[:26].strip(): line[26:].split()[0] for line in lines}
        assert found["Max open files"] == "5432"
        assert found["Max processes"] == "4321"
        assert inside.sh("cat /proc/self/limits").ok().lines == lines
        named = both.sh("cat /proc/self/limits", "--ulimit", "nofile=99:100")
    assert [line.split()[3:5] for line in named.lines if "open files" in line] == [
        ["99", "100"]
    ]


@pytest.mark.core
def test_a_setting_changed_on_the_host_is_the_next_containers(both: Both) -> None:
    names = (
        "fs/inotify/max_user_watches",
        "vm/max_map_count",
        "kernel/threads-max",
        # Some kernels show it in the first network namespace alone; it holds in all.
        "net/core/rmem_max",
    )
    with larger_by_one(*names) as values:
        reference = seen(both.reference, values)
        found = seen(both.boxlite, values)
    assert reference.items() <= values.items()
    assert found == values
    assert seen(both.boxlite, values) != values


def test_a_new_networks_buffers_and_forwarding_come_from_the_hosts(both: Both) -> None:
    forward = (SYSCTLS / "net/ipv4/ip_forward").read_text().strip()
    names = {
        "net/ipv4/tcp_rmem": "4097\t131073\t6291457",
        "net/ipv4/ip_forward": "0" if forward == "1" else "1",
        "net/ipv4/conf/default/rp_filter": "2",
    }
    with ExitStack() as stack:
        for name, value in names.items():
            stack.enter_context(setting(name, value))
        found = both.same(lambda docker: seen(docker, names))
    assert found == names


@pytest.mark.boxlite_only
def test_a_changed_setting_makes_no_template_stale(
    docker: Docker, built: Template
) -> None:
    assert built.name
    engine = docker.using(settings.TEMPLATES)
    names = ("fs/inotify/max_user_watches", "fs/aio-max-nr")
    with larger_by_one(*names) as values:
        assert seen(engine, values, REQUIRED) == values
    before = {name: (SYSCTLS / name).read_text().strip() for name in names}
    assert seen(engine, before, REQUIRED) == before


@pytest.mark.boxlite_only
def test_what_lets_a_guest_sleep_is_not_the_hosts(docker: Docker) -> None:
    names = {"vm/stat_interval": "10", "vm/compaction_proactiveness": "0"}
    assert seen(docker, names) == names
