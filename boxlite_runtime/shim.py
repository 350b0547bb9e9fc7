# SPDX-License-Identifier: Apache-2.0
"""How the shim's program tells the tool that something did not work.

Owns: the form of its errors. Does not own: its verbs; each module that calls
one knows its words and the meaning of the answer.
"""

import json
from typing import Any

from boxlite_runtime.errors import BoxliteError, ExitCode
from boxlite_runtime.paths import SHIM_NAME
from boxlite_runtime.process import Completed


def document(line: str) -> dict[str, Any]:
    """Return the document on a line of output; stderr comes in between."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def must_have_worked(done: Completed, *, hint: str | None = None) -> None:
    """Raise what the shim said last, unless it ended well."""
    if done.returncode == 0:
        return
    lines = (done.stderr or done.stdout).strip().splitlines()
    said = [line for line in lines if not document(line)]
    message = " ".join(said[-1:]).removeprefix(f"{SHIM_NAME}: ")
    if not message:
        message = f"the shim ended with {done.returncode} and no word"
    raise BoxliteError(message, hint=hint, exit_code=ExitCode.SUBPROCESS)


def another_release(what: str) -> BoxliteError:
    """Return what to raise for an answer that is not understood."""
    return BoxliteError(
        f"the shim does not speak of {what} as this tool expects",
        hint="Install both from one release: boxlite version",
    )
