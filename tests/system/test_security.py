# SPDX-License-Identifier: Apache-2.0
"""What a container may do is what it may do under runc."""

import json
from pathlib import Path

import pytest

from tests.engines.images import IMAGE, TESTER
from tests.system.both import Both

STATUS = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status"


@pytest.mark.parametrize(
    "options",
    [
        ("--cap-drop", "ALL"),
        ("--cap-drop", "ALL", "--cap-add", "NET_BIND_SERVICE", "--cap-add", "CHOWN"),
        ("--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN", "--cap-drop", "MKNOD"),
        ("--user", TESTER, "--cap-add", "NET_RAW"),
        ("--security-opt", "no-new-privileges"),
        ("--security-opt", "seccomp=unconfined"),
    ],
    ids=lambda options: "-".join(word.strip("-") for word in options),
)
def test_capabilities_privileges_and_filter_are_as_asked(
    both: Both, options: tuple[str, ...]
) -> None:
    assert len(both.sh(STATUS, *options).ok().lines) == 7


def test_dropped_capabilities_are_not_there_to_use(both: Both) -> None:
    script = (
        "chown 1:1 /srv/readonly; mknod /tmp/null c 1 3; chroot / true;"
        "ip link set lo down; hostname other; date -s 2001-01-01 >/dev/null"
    )
    result = both.sh(script, "--cap-drop", "ALL")
    assert result.errors.count("not permitted") == 6, result.errors


def test_default_capabilities_are_there_to_use(both: Both) -> None:
    script = (
        "chown 1:1 /srv/readonly && mknod /tmp/null c 1 3 && chroot / true && echo able;"
        "hostname other; ip link set lo down; mount -t tmpfs none /mnt; swapoff -a; true"
    )
    assert both.sh(script).lines == ["able"]


def test_a_privileged_container_may_administer_itself(both: Both) -> None:
    script = (
        f"{STATUS}; mount -t tmpfs none /mnt && echo mounted; hostname other &&"
        "hostname; ip link set lo down && echo down;"
        "echo 1 >/proc/sys/net/ipv4/ip_forward && echo forwards"
    )
    result = both.sh(script, "--privileged").ok()
    assert result.lines[-4:] == ["mounted", "other", "down", "forwards"]


def test_the_default_filter_forbids_what_needs_no_capability(both: Both) -> None:
    # A user namespace is anybody's to make where no filter stands before it.
    result = both.sh("unshare -U true; echo $?", "--user", TESTER)
    assert result.lines == ["1"] and "not permitted" in result.errors


def test_a_filter_of_ones_own_gives_its_error(both: Both, tmp_path: Path) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
            {
                "names": ["kill"],
                "action": "SCMP_ACT_ERRNO",
                "args": [{"index": 1, "value": 10, "op": "SCMP_CMP_EQ"}],
            },
        ],
    }
    file = tmp_path / "profile.json"
    file.write_text(json.dumps(profile))
    script = "mkdir /tmp/x; kill -USR1 $$; trap 'echo usr2' USR2; kill -USR2 $$; rmdir /tmp/y"
    result = both.sh(script, "--security-opt", f"seccomp={file}")
    assert "No space left on device" in result.errors
    assert "Operation not permitted" in result.errors
    assert result.lines == ["usr2"]


def test_no_new_privileges_makes_setuid_programs_plain(both: Both) -> None:
    script = "cp /bin/probe /srv/probe; chmod 4755 /srv/probe; su tester -c '/srv/probe euid'"
    assert both.sh(script).ok().lines == ["0"]
    restricted = both.sh(script, "--security-opt", "no-new-privileges")
    assert restricted.ok().lines == ["1000"]


#: Docker's default masked and read-only paths.
MASKED = (
    "/proc/acpi /proc/asound /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list"
    " /proc/timer_stats /proc/sched_debug /proc/scsi /sys/firmware"
)
READONLY = "/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger"


def test_masked_paths_show_nothing(both: Both) -> None:
    # Which of them exist is the kernel's; that they show nothing is not.
    script = (
        f"for p in {MASKED}; do if [ -d $p ]; then ls -A $p; elif [ -e $p ]; then"
        " head -c 100 $p; fi; done"
    )
    assert both.sh(script).ok().stdout == b""


def test_masked_files_lie_on_the_file_system_of_dev(both: Both) -> None:
    # The options of a tmpfs are the kernel's to name.
    script = (
        f"for p in {MASKED} /dev; do [ -c $p ] || [ $p = /dev ] || continue;"
        " awk -v p=$p '$2 == p {print $1, $3}' /proc/mounts; done | sort -u"
    )
    assert both.sh(script).ok().lines == ["tmpfs tmpfs"]


def test_the_links_in_dev_are_the_same(both: Both) -> None:
    # /dev/core among them where the host has /proc/kcore.
    script = "for l in $(find /dev -type l | sort); do echo $l $(readlink $l); done"
    assert "/dev/fd /proc/self/fd" in both.sh(script).ok().lines


def test_read_only_paths_take_no_writes(both: Both) -> None:
    script = (
        f"for p in {READONLY}; do [ -e $p ] || continue; if [ -d $p ]; then touch $p/x;"
        " else echo >$p; fi && echo wrote $p; done; touch /sys/x /sys/fs/cgroup/x;"
        "echo 1 >/proc/sys/kernel/domainname; for p in /proc/sys /proc/irq /sys;"
        'do grep -q " $p [^ ]* ro[, ]" /proc/mounts && echo $p; done'
    )
    result = both.same(lambda docker: docker.sh(script).lines)
    assert result == ["/proc/sys", "/proc/irq", "/sys"]


def test_unmasked_paths_are_the_kernels(both: Both) -> None:
    options = ("--security-opt", "systempaths=unconfined")
    script = "grep -c . /proc/timer_list >/dev/null; grep -q ' /proc/sys ' /proc/mounts; echo $?"
    assert both.same(lambda docker: docker.sh(script, *options).lines) == ["1"]


def test_sysctls_are_set_and_docker_s_own_among_them(both: Both) -> None:
    script = (
        "cd /proc/sys; cat net/ipv4/ip_forward net/ipv4/ping_group_range"
        " net/ipv4/ip_unprivileged_port_start net/core/somaxconn kernel/msgmax"
    )
    result = both.sh(
        script,
        "--sysctl", "net.ipv4.ip_forward=0",
        "--sysctl", "net.core.somaxconn=777",
        "--sysctl", "kernel.msgmax=16384",
    )  # fmt: skip
    assert result.ok().lines == ["0", "0\t2147483647", "0", "777", "16384"]


def test_init_reaps_orphans_and_passes_signals_on(both: Both) -> None:
    script = "(sleep 0.01 &) ; sleep 0.3; ps -o pid,stat,comm | grep -c ' Z '; head -c 40 /proc/1/cmdline | tr '\\0' ' '"
    result = both.sh(script, "--init")
    assert result.lines[0] == "0" and "docker-init" in result.lines[1]


def test_processes_of_the_host_are_out_of_sight(both: Both) -> None:
    result = both.run(IMAGE, "ps", "-o", "pid,args")
    assert [line.split(maxsplit=1) for line in result.ok().lines] == [
        ["PID", "COMMAND"],
        ["1", "ps -o pid,args"],
    ]
