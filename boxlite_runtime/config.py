# SPDX-License-Identifier: Apache-2.0
"""What may stand in /etc/boxlite/config.toml.

Owns: the list of keys, for telling an administrator early what the shim will
refuse later. Does not own: the defaults; the shim has them. The shim is the
judge: this list follows its own, and a unit test holds the sample file to it.
"""

import tomllib
from typing import Any

#: A number, or the word for as much as the host has.
HOST = (int, "host")

#: Table -> key -> the type of its value, or the words it may be.
KEYS: dict[str, dict[str, type | tuple[type | str, ...]]] = {
    "machine": {
        "accel": ("auto", "kvm", "tcg"),
        "memory_mib": HOST,
        "vcpus": HOST,
        "nics": int,
    },
    "paths": {"qemu": str, "virtiofsd": str, "kernel": str, "initrd": str, "run": str},
    "template": {"mode": ("off", "auto", "required"), "directory": str},
    "sockets": {"engine": bool},
    "log": {"level": ("error", "warn", "info", "debug", "trace")},
}

#: How each type is called.
KINDS: dict[type, str] = {int: "a number", str: "a text", bool: "true or false"}


def problems(text: str) -> list[str]:
    """Return what is wrong with a configuration, a sentence each."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return [f"it is not TOML: {error}"]
    found = []
    for table, values in document.items():
        if table not in KEYS:
            found.append(f"[{table}] is not a table of the configuration")
        elif not isinstance(values, dict):
            found.append(f"{table} must be a table")
        else:
            found += [p for key in values if (p := _wrong(table, key, values[key]))]
    return found


def _wrong(table: str, key: str, value: Any) -> str | None:  # noqa: ANN401  (any TOML value)
    allowed = KEYS[table].get(key)
    if allowed is None:
        return f"{key} is not a key of [{table}]"
    if allowed == HOST and type(value) is int:
        allowed = int
    if isinstance(allowed, tuple):
        if value not in allowed:
            words = [
                KINDS[word] if isinstance(word, type) else word for word in allowed
            ]
            return f"{table}.{key} must be one of: {', '.join(words)}"
        return None
    # True is an int to Python, and not to anybody else.
    if type(value) is not allowed:
        return f"{table}.{key} must be {KINDS[allowed]}"
    if isinstance(value, int) and allowed is int and value < 1:
        return f"{table}.{key} must be at least 1"
    return None
