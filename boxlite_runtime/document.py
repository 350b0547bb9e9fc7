# SPDX-License-Identifier: Apache-2.0
"""Files that a command has written with ``--json`` and another reads back.

Owns: the version each of them carries, and what is said of a file that is none.
Does not own: what is in them; ``make`` turns the fields into it.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from boxlite_runtime.errors import BoxliteError

T = TypeVar("T")


def text(form: int, fields: dict[str, Any]) -> str:
    """Return the fields of a record of version ``form`` as JSON text."""
    return json.dumps({"form": form, **fields}, indent=1) + "\n"


def read(
    path: Path, form: int, make: Callable[[dict[str, Any]], T], *, what: str, by: str
) -> T:
    """Read a record of version ``form``.

    ``what`` it should be a record of, and the command ``by`` which one is
    written, are for who named another file. Raises ``BoxliteError``.
    """
    try:
        fields = json.loads(path.read_text())
        if fields.pop("form") != form:
            raise BoxliteError(f"{path} is of another version of boxlite")
        return make(fields)
    except OSError as error:
        raise BoxliteError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BoxliteError(
            f"{path} is no record of {what}", hint=f"{by} --json FILE writes one."
        ) from error
