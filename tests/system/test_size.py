# SPDX-License-Identifier: Apache-2.0
"""A machine is as large as its host, and touches what its container needs.

What a container sees is compared with runc's. What a machine takes of the
host's memory is read from the file that is its memory.
"""

import os
from pathlib import Path

import pytest

from boxlite_runtime.templates.shim import Template
from tests.engines import processes
from tests.engines.docker import Docker
from tests.engines.images import IMAGE
from tests.engines.waiting import until
from tests.system.both import Both

MIB = 1 << 20
#: MiB that an idle machine has taken at most: some 25 are copied, the rest is its boot's.
IDLE = 48
#: ... and one that has had a gigabyte and given it back; 16 are struct pages.
GIVEN_BACK = 100
#: Seconds until it has; ten on a quiet host, for free pages are reported in turns.
RETURNED = 60.0
#: What the guest may take beside its container's limit, in MiB.
GUEST = 128

SEEN = """
nproc
grep -c ^processor /proc/cpuinfo
awk '/MemTotal/ {print int($2 / 1024)}' /proc/meminfo
df -m /sized | awk 'END {print $2}'
"""


def memory(container: str) -> os.stat_result:
    """Return what the host's kernel says of the file that is a machine's memory."""
    directory = Path(f"/proc/{processes.machine(container).pid}/fd")
    memories = (fd for fd in directory.iterdir() if "boxlite-ram" in str(fd.readlink()))
    return next(memories).stat()


def taken(container: str) -> int:
    """Return how many MiB a container's machine has of the host's memory."""
    return memory(container).st_blocks * 512 // MIB


def grown(docker: Docker, container: str) -> int:
    """Return how far the guest's memory is in, in MiB."""
    file = "/sys/module/grow/parameters/taken"
    return int(docker.exec(container, "cat", file).ok().text) // MIB


@pytest.mark.core
@pytest.mark.kvm
@pytest.mark.parametrize(
    "options",
    [
        ("--tmpfs=/sized",),
        ("--tmpfs=/sized", "--memory=128m"),
        ("--tmpfs=/sized", "--cpus=1"),
    ],
)
def test_a_container_sees_the_hosts_size(both: Both, options: tuple[str, ...]) -> None:
    expected, found = (
        [int(line) for line in docker.sh(SEEN, *options).ok().lines]
        for docker in (both.reference, both.boxlite)
    )
    assert found[:2] == expected[:2] == [os.cpu_count()] * 2
    # A kernel keeps some per cent to itself, each its own share, and a
    # machine's room is whole gigabytes.
    for ours, runcs in zip(found[2:], expected[2:], strict=True):
        assert runcs * 0.95 <= ours <= runcs * 1.05 + 1024


def test_a_set_of_cpus_is_a_number_of_them(both: Both) -> None:
    last = str((os.cpu_count() or 1) - 1)
    options = ("--cpuset-cpus", last)
    assert both.sh("nproc", *options).ok().text == "1"
    if last != "0":
        with both.containers(options) as inside:
            both.same(
                lambda docker: docker.sh("taskset -p $$ | cut -d: -f2", *options).text
            )
            assert inside.sh("nproc").ok().text == "1"


@pytest.mark.kvm
def test_what_is_asked_for_at_once_is_had(both: Both) -> None:
    # Three times what the machine booted with.
    script = "for i in 0 1 2 3 4 5 6 7 8 9; do probe touch 150 & done; wait"
    assert both.sh(script).ok().lines == ["150"] * 10


def test_two_gigabytes_at_full_speed(both: Both) -> None:
    assert both.sh("probe touch 2048").ok().text == "2048"


def test_shared_memory_is_as_large_as_it_was_asked_for(both: Both) -> None:
    script = "dd if=/dev/zero of=/dev/shm/fill bs=1M count=700 2>/dev/null; stat -c %s /dev/shm/fill"
    assert both.sh(script, "--shm-size=1g").ok().text == str(700 * MIB)


@pytest.mark.boxlite_only
@pytest.mark.kvm
def test_what_was_freed_goes_back_to_the_host(docker: Docker) -> None:
    with docker.container("--shm-size=2g") as container:
        assert taken(container) <= IDLE
        docker.exec(
            container, "sh", "-c", "dd if=/dev/zero of=/dev/shm/fill bs=1M count=1024"
        ).ok()
        assert taken(container) >= 1024
        docker.exec(container, "rm", "/dev/shm/fill").ok()
        until("it is back", lambda: taken(container) <= GIVEN_BACK, RETURNED)


@pytest.mark.boxlite_only
def test_a_limit_bounds_the_machine_too(docker: Docker) -> None:
    with docker.container("--memory=600m", "--memory-swap=600m") as container:
        assert 600 <= memory(container).st_size // MIB <= 600 + GUEST
        docker("update", "--memory=2g", "--memory-swap=2g", container).ok()
        assert docker.exec(container, "probe", "touch", "1400").ok().text == "1400"
        assert 1400 <= grown(docker, container) <= 2048 + 2 * GUEST


@pytest.mark.boxlite_only
def test_a_guest_that_takes_more_than_it_may_ends_its_machine(docker: Docker) -> None:
    options = ("--privileged", "--annotation=io.boxlite.memory_mib=700")
    with docker.container(*options) as container:
        # As root of its own kernel a container can say what it likes.
        script = "echo 9000000000 > /sys/module/grow/parameters/limit; probe touch 1500"
        docker.exec(container, "sh", "-c", script)
        until("the machine has ended", lambda: not docker.state(container)["Running"])
        assert docker.state(container)["ExitCode"] == 137


@pytest.mark.boxlite_only
def test_files_that_were_read_do_not_grow_a_machine_without_end(
    docker: Docker, tmp_path: Path
) -> None:
    with (tmp_path / "large").open("wb") as file:
        for _ in range(1500):
            file.write(os.urandom(MIB))
    with docker.container(f"--volume={tmp_path}:/v:ro") as container:
        docker.exec(container, "sh", "-c", "cat /v/large > /dev/null").ok()
        assert grown(docker, container) <= 1100


#: For a container that does not start where no template fits.
REQUIRED = "--annotation=io.boxlite.template=required"


@pytest.mark.boxlite_only
@pytest.mark.parametrize(
    "size", ["--memory=64m", "--memory=3g", "--cpus=1", "--cpuset-cpus=0"]
)
def test_one_template_fits_nearly_all(
    docker: Docker, built: Template, size: str
) -> None:
    docker.run("--rm", REQUIRED, size, IMAGE, "true").ok()


@pytest.mark.boxlite_only
def test_a_number_of_cpus_needs_a_template_of_its_own(
    docker: Docker, built: Template
) -> None:
    other = "--annotation=io.boxlite.vcpus=1"
    assert built.vcpus > 1, "a host with one CPU cannot tell"
    assert docker.sh("nproc", other).ok().text == "1"
    refused = docker.run("--rm", REQUIRED, other, IMAGE, "true")
    assert refused.code == 125 and "none for a machine of 1x" in refused.errors


@pytest.mark.boxlite_only
def test_the_one_node_has_all_memory(docker: Docker) -> None:
    script = "awk '/MemTotal|MemFree/ {print int($(NF - 1) / 1024)}'"
    files = "/proc/meminfo /sys/devices/system/node/node0/meminfo"
    lines = docker.sh(f"{script} {files}").ok().lines
    total, free, nodes_total, nodes_free = (int(line) for line in lines)
    assert abs(nodes_total - total) <= 8 and abs(nodes_free - free) <= 8


@pytest.mark.boxlite_only
def test_the_list_of_pages_ends_where_memory_does(docker: Docker) -> None:
    script = (
        "dd if=/proc/kpageflags of=/tmp/pages bs=64k 2>/dev/null; stat -c %s /tmp/pages"
    )
    with docker.container("--privileged") as container:
        size = int(docker.exec(container, "sh", "-c", script).ok().text)
        # Eight bytes for a page of 4 KiB.
        assert size * 512 // MIB == grown(docker, container)
        assert taken(container) <= IDLE + 2
