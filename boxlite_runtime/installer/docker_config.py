# SPDX-License-Identifier: Apache-2.0
"""The entry in Docker's daemon.json. Pure: text in, text out.

Owns: what of daemon.json is ours (``runtimes.boxlite``). Does not own:
reading, writing or reloading.
"""

import json
from typing import Any

from boxlite_runtime.errors import BoxliteError

RUNTIME_NAME = "boxlite"
RUNTIME_TYPE = "io.containerd.boxlite.v1"
OPTIONS_TYPE = "io.containerd.boxlite.v1.options"


def runtime_entry(runtime_type: str, config_path: str) -> dict[str, Any]:
    """Return the value of ``runtimes.boxlite``.

    Docker passes on ``TypeUrl`` and ``ConfigPath`` only; any other key would
    be dropped silently.
    """
    return {
        "runtimeType": runtime_type,
        "options": {"TypeUrl": OPTIONS_TYPE, "ConfigPath": config_path},
    }


def with_runtime(text: str | None, entry: dict[str, Any]) -> str:
    """Return daemon.json with the runtime in it and all else kept.

    ``None`` and an empty file count as ``{}``, as they do for dockerd. A text
    that already has the entry comes back unchanged, byte for byte. Raises
    ``BoxliteError`` for what dockerd itself would refuse.
    """
    document = _parse(text)
    runtimes = document.setdefault("runtimes", {})
    if not isinstance(runtimes, dict):
        raise BoxliteError(
            'Docker\'s daemon.json is wrong: "runtimes" is not an object',
            hint="Correct it, then run boxlite install again; nothing was changed.",
        )
    if text is not None and runtimes.get(RUNTIME_NAME) == entry:
        return text
    runtimes[RUNTIME_NAME] = entry
    return _write(document)


def without_runtime(text: str) -> str:
    """Return daemon.json without the runtime, for a file edited since."""
    document = _parse(text)
    runtimes = document.get("runtimes")
    if not isinstance(runtimes, dict) or RUNTIME_NAME not in runtimes:
        return text
    del runtimes[RUNTIME_NAME]
    if not runtimes:
        del document["runtimes"]
    if document.get("default-runtime") == RUNTIME_NAME:
        # dockerd does not start with a default that does not exist.
        del document["default-runtime"]
    return _write(document)


def has_runtime(text: str) -> bool:
    """Tell whether the runtime is in a daemon.json."""
    runtimes = _parse(text).get("runtimes")
    return isinstance(runtimes, dict) and RUNTIME_NAME in runtimes


def names_runtimes(text: str | None) -> bool:
    """Tell whether a daemon.json names any runtime.

    dockerd rereads its runtimes only from a file that does: the last one
    that is taken out stays known until dockerd is restarted.
    """
    return "runtimes" in _parse(text)


def _parse(text: str | None) -> dict[str, Any]:
    # dockerd accepts a byte order mark; json does not.
    content = (text or "").removeprefix("\ufeff")
    if not content.strip():
        return {}
    try:
        document = json.loads(content)
    except json.JSONDecodeError as error:
        raise BoxliteError(
            f"Docker's daemon.json is not JSON: {error}",
            hint="Correct it, then run boxlite install again; nothing was changed.",
        ) from error
    if not isinstance(document, dict):
        raise BoxliteError(
            "Docker's daemon.json is not a JSON object",
            hint="Correct it, then run boxlite install again; nothing was changed.",
        )
    return document


def _write(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=4, ensure_ascii=False) + "\n"
