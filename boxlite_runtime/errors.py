# SPDX-License-Identifier: Apache-2.0
"""The one exception for expected failures, and the exit codes of ``boxlite``.

Owns: what a failure carries (message, hint, exit code). Does not own: how it
is printed; ``boxlite_runtime.cli`` does that in one place.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of ``boxlite``. They are documented and stable."""

    OK = 0
    #: The command ran and could not do what was asked, or found a problem.
    FAILURE = 1
    #: The command line was wrong (click's own code).
    USAGE = 2
    #: The host lacks something the command needs (a program, a right).
    HOST_UNFIT = 3
    #: A program run on the caller's behalf failed.
    SUBPROCESS = 4
    #: Interrupted from the keyboard (128 + SIGINT).
    INTERRUPTED = 130


class BoxliteError(Exception):
    """An expected failure: what went wrong, and what to do about it.

    Without ``--debug`` the reader sees ``message`` and ``hint`` and no
    traceback, so both must make sense on their own.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        exit_code: ExitCode = ExitCode.FAILURE,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code
