# SPDX-License-Identifier: Apache-2.0
"""Docker's flags as keyword arguments of its Python SDK.

Owns: the tables, and turning flags into arguments by them. Does not own: the
calls (``docker_sdk``).
"""

from collections.abc import Callable, Sequence
from typing import Any

from boxlite_runtime.conformance.engines.engine import split_flags

#: A flag's value into keyword arguments, which it adds to those there are.
Put = Callable[[dict[str, Any], str], None]


def _one(key: str, convert: Callable[[str], Any] = str) -> Put:
    def put(words: dict[str, Any], value: str) -> None:
        words[key] = convert(value)

    return put


def _many(key: str) -> Put:
    def put(words: dict[str, Any], value: str) -> None:
        words.setdefault(key, []).append(value)

    return put


def _pair(key: str, between: str = "=") -> Put:
    def put(words: dict[str, Any], value: str) -> None:
        name, _, content = value.partition(between)
        words.setdefault(key, {})[name] = content

    return put


def _true(key: str) -> Put:
    def put(words: dict[str, Any], _: str) -> None:
        words[key] = True

    return put


def _nothing(_words: dict[str, Any], _: str) -> None:
    """Put nothing: what the flag says is done by how the step is."""


#: Docker's flag -> how many words it takes, and what it is in the SDK.
FLAGS: dict[str, tuple[int, Put]] = {
    "--rm": (0, _nothing),
    "-d": (0, _true("detach")),
    "--detach": (0, _true("detach")),
    "--init": (0, _true("init")),
    "--privileged": (0, _true("privileged")),
    "--read-only": (0, _true("read_only")),
    "-t": (0, _true("tty")),
    "-e": (1, _many("environment")),
    "--env": (1, _many("environment")),
    "--user": (1, _one("user")),
    "--workdir": (1, _one("working_dir")),
    "--hostname": (1, _one("hostname")),
    "--domainname": (1, _one("domainname")),
    "--mac-address": (1, _one("mac_address")),
    "--entrypoint": (1, _one("entrypoint")),
    "--cap-add": (1, _many("cap_add")),
    "--cap-drop": (1, _many("cap_drop")),
    "--group-add": (1, _many("group_add")),
    "--device": (1, _many("devices")),
    "--device-cgroup-rule": (1, _many("device_cgroup_rules")),
    "--dns": (1, _many("dns")),
    "--dns-search": (1, _many("dns_search")),
    "--dns-option": (1, _many("dns_opt")),
    "-v": (1, _many("volumes")),
    "--volume": (1, _many("volumes")),
    "--volumes-from": (1, _many("volumes_from")),
    "--add-host": (1, _pair("extra_hosts", ":")),
    "--tmpfs": (1, _pair("tmpfs", ":")),
    "--sysctl": (1, _pair("sysctls")),
    "--label": (1, _pair("labels")),
    "--memory": (1, _one("mem_limit")),
    "--memory-swap": (1, _one("memswap_limit")),
    "--memory-reservation": (1, _one("mem_reservation")),
    "--cpus": (1, _one("nano_cpus", lambda text: int(float(text) * 1e9))),
    "--cpu-shares": (1, _one("cpu_shares", int)),
    "--cpuset-cpus": (1, _one("cpuset_cpus")),
    "--pids-limit": (1, _one("pids_limit", int)),
    "--shm-size": (1, _one("shm_size")),
    "--oom-score-adj": (1, _one("oom_score_adj", int)),
    "--stop-signal": (1, _one("stop_signal")),
    "--network": (1, _one("network")),
    "--ipc": (1, _one("ipc_mode")),
    "--pid": (1, _one("pid_mode")),
}
EXEC: dict[str, tuple[int, Put]] = {
    "-d": (0, _true("detach")),
    "-u": (1, _one("user")),
    "-w": (1, _one("workdir")),
    "-e": (1, _many("environment")),
    "-t": (0, _true("tty")),
    "--privileged": (0, _true("privileged")),
}
#: Verbs and the flags of each that the SDK can say.
VERBS: dict[str, dict[str, tuple[int, Put]]] = {
    "run": FLAGS,
    "create": FLAGS,
    "exec": EXEC,
    "kill": {"--signal": (1, _one("signal"))},
    "stop": {"-t": (1, _one("timeout", int))},
    "restart": {"-t": (1, _one("timeout", int))},
    "rm": {"--force": (0, _true("force"))},
    "logs": {"--tail": (1, _one("tail", int))},
    "start": {},
    "pause": {},
    "unpause": {},
    "wait": {},
    "diff": {},
}
#: Verbs that take no flags at all.
LOOKING = {"inspect", "state", "host"}


def keywords(flags: Sequence[str], table: dict[str, tuple[int, Put]]) -> dict[str, Any]:
    """Return flags as keyword arguments. Raises ``Unknown``."""
    words: dict[str, Any] = {}
    for name, value in split_flags(flags, {n: a for n, (a, _) in table.items()}):
        table[name][1](words, value)
    return words
