# SPDX-License-Identifier: Apache-2.0
"""The runtime's tables in containerd's config.toml. Pure: text in, text out.

Owns: one marked block at the end of the file. Does not own: reading, writing
or restarting containerd.

Why not a file of our own through containerd's ``imports``: containerd 1.x
replaces the whole section of a plugin by the imported one (seen on 1.7.24), so
the host's other CRI settings (CNI directories, other runtimes) would vanish.
Appending tables changes nothing that stands above them, and each edit is
proven by parsing before and after.
"""

import tomllib
from typing import Any

from boxlite_runtime.errors import BoxliteError

BEGIN = "# >>> boxlite: written by boxlite install, removed by boxlite uninstall"
END = "# <<< boxlite"

#: Configuration version -> the plugin that holds CRI's runtimes.
CRI_PLUGIN = {2: "io.containerd.grpc.v1.cri", 3: "io.containerd.cri.v1.runtime"}


def config_version(text: str | None) -> int | None:
    """Return the configuration version of the file, ``None`` if it has none."""
    if text is None or not text.strip():
        return None
    version = _parse(text).get("version")
    return version if isinstance(version, int) else None


def with_runtime(text: str | None, tables: dict[int, str]) -> str:
    """Return config.toml with the runtime's tables at its end.

    ``tables`` maps a configuration version to the text to append. A missing
    or empty file becomes one of version 2, which containerd 1.x and 2.x read.
    Raises ``BoxliteError`` for a file whose version has no tables here and
    for one that the append would not leave otherwise unchanged.
    """
    before = without_runtime(text or "")
    if not _parse(before):
        # Missing, empty or comments only: both containerd lines read this.
        before += "version = 2\n"
    old = _parse(before)
    version = old.get("version")
    if version not in tables:
        raise BoxliteError(
            f"containerd's config.toml has version {version or '1 (none given)'}",
            hint="Convert it with `containerd config migrate`, then install again.",
        )
    if _runtime_of(old, version) is not None:
        raise BoxliteError(
            "containerd's config.toml already defines a runtime named boxlite",
            hint="Remove those tables, then run boxlite install again.",
        )
    joint = "" if before.endswith("\n") else "\n"
    after = f"{before}{joint}{BEGIN}\n{tables[version].strip()}\n{END}\n"
    try:
        new = _parse(after)
    except BoxliteError as error:
        raise BoxliteError(
            "containerd's config.toml leaves no room for another runtime",
            hint=(
                "It writes a parent of the runtimes table inline ({...}); "
                "write it as a [table], then run boxlite install again."
            ),
        ) from error
    _forget(new, version)
    _forget(old, version)
    if new != old:
        raise BoxliteError(
            "adding the runtime would change containerd's other settings",
            hint="Add the tables of install/containerd by hand.",
        )
    return after


def without_runtime(text: str) -> str:
    """Return config.toml without the marked block."""
    start = text.find(BEGIN)
    if start < 0:
        return text
    end = text.find(END, start)
    if end < 0:
        raise BoxliteError(
            f"containerd's config.toml has a line {BEGIN!r} without {END!r}",
            hint="Remove what BoxLite added there by hand.",
        )
    return text[:start] + text[end + len(END) :].removeprefix("\n")


def has_runtime(text: str) -> bool:
    """Tell whether CRI would find a runtime named boxlite."""
    document = _parse(text)
    return any(_runtime_of(document, version) is not None for version in CRI_PLUGIN)


def _parse(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BoxliteError(
            f"containerd's config.toml is not TOML: {error}",
            hint="Correct it, then run boxlite install again; nothing was changed.",
        ) from error


def _chain(document: dict[str, Any], version: int) -> list[dict[str, Any]]:
    """Return the tables from the root down to ``runtimes``, as far as they go."""
    tables = [document]
    for key in ("plugins", CRI_PLUGIN[version], "containerd", "runtimes"):
        table = tables[-1].get(key)
        if not isinstance(table, dict):
            break
        tables.append(table)
    return tables


def _runtime_of(document: dict[str, Any], version: int) -> object:
    tables = _chain(document, version)
    return tables[4].get("boxlite") if len(tables) == 5 else None


def _forget(document: dict[str, Any], version: int) -> None:
    """Take out the runtime and the parent tables that are empty without it."""
    tables = _chain(document, version)
    keys = ("plugins", CRI_PLUGIN[version], "containerd", "runtimes", "boxlite")
    for table, key in reversed(list(zip(tables, keys, strict=False))):
        if key == "boxlite" or table.get(key) == {}:
            table.pop(key, None)
