# SPDX-License-Identifier: Apache-2.0
"""Dotted paths into an engine's description of a container.

Owns: ``State.ExitCode`` and the like. Docker's templates would do, and its
SDK has none.
"""

import json
from typing import Any


def looked_up(document: Any, path: str) -> str:  # noqa: ANN401  (any JSON value)
    """Return the value at ``path`` as JSON; ``absent`` where there is none.

    A part of the path may be a number, for lists, and ``*`` for the keys.
    """
    value = document
    for part in path.split("."):
        if part == "*" and isinstance(value, dict):
            value = sorted(value)
        elif isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return "absent"
    return json.dumps(value, sort_keys=True)
