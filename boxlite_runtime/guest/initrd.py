# SPDX-License-Identifier: Apache-2.0
"""Packs the initrd: the agent as PID 1 and the few paths it starts with.

Owns: reading rootfs.yaml and making the archive. Does not own: building the
agent, where the archive goes (``manifest``).
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boxlite_runtime.errors import BoxliteError
from boxlite_runtime.guest import cpio, elf
from boxlite_runtime.guest.catalogue import check_keys, read_yaml


@dataclass(frozen=True)
class Layout:
    """What the initrd holds. ``built`` is the agent's place in a source tree."""

    agent_path: str
    agent_mode: int
    built: Path
    entries: tuple[cpio.Entry, ...]


@dataclass(frozen=True)
class Initrd:
    """An initrd, and what its manifest says about it."""

    image: bytes
    about: dict[str, Any]


def layout(path: Path) -> Layout:
    """Read rootfs.yaml. Raises ``BoxliteError`` naming the key that is wrong."""
    declared = read_yaml(path)
    check_keys(declared, path, required={"agent", "directories", "nodes"})
    agent = declared["agent"]
    check_keys(agent, path, required={"path", "mode", "built"})
    entries = []
    for entry in declared["directories"]:
        check_keys(entry, path, required={"path", "mode"})
        entries.append(cpio.directory(entry["path"], _mode(entry, path)))
    for entry in declared["nodes"]:
        check_keys(entry, path, required={"path", "mode", "major", "minor"})
        entries.append(
            cpio.character_device(
                entry["path"], _mode(entry, path), entry["major"], entry["minor"]
            )
        )
    return Layout(
        agent["path"], _mode(agent, path), Path(agent["built"]), tuple(entries)
    )


def pack(declared: Layout, agent: Path) -> Initrd:
    """Return the initrd with ``agent`` in it.

    Raises ``BoxliteError`` when the agent is not a static program: there is
    no loader in the guest, and the kernel would only say "error -2".
    """
    try:
        program = agent.read_bytes()
    except OSError as error:
        raise BoxliteError(
            f"no agent at {agent}: {error.strerror}",
            hint="Build it with `cargo xtask agent` in shim-rs, or name it with --agent.",
        ) from error
    _refuse_dynamic(agent, program)
    init = cpio.regular(declared.agent_path, declared.agent_mode, program)
    image = cpio.archive([*declared.entries, init])
    about = {
        "sha256": hashlib.sha256(image).hexdigest(),
        "size": len(image),
        "agent": {
            "path": declared.agent_path,
            "sha256": hashlib.sha256(program).hexdigest(),
            "size": len(program),
        },
    }
    return Initrd(image, about)


def _mode(entry: dict[str, Any], path: Path) -> int:
    """Return a mode. It is written as a string: YAML 1.1 and 1.2 differ on octal."""
    mode = entry["mode"]
    if not isinstance(mode, str):
        raise BoxliteError(f'{path}: mode {mode!r} must be a string such as "0755"')
    return int(mode, 8)


def _refuse_dynamic(agent: Path, program: bytes) -> None:
    if program[:4] != b"\x7fELF":
        raise BoxliteError(f"{agent} is not a program")
    if elf.interpreter(program) is not None:
        raise BoxliteError(
            f"{agent} is not linked statically",
            hint="Build it with `cargo xtask agent` in shim-rs.",
        )
