# SPDX-License-Identifier: Apache-2.0
"""Runs a command on an emulated host with working KVM.

    python -m tests.engines.emulated [OPTIONS] -- COMMAND...

Its output and exit code come back. Other exit codes: 124 where it was past its time,
125 where the host could not be had, did not boot, or gave up; the last lines on
stderr say which. What is installed here is installed there; see ``host``.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.engines.emulated import fit, host, kernel
from tests.engines.emulated.ending import Ending, Kind
from tests.engines.programs import Unavailable

EXPIRED = 124
NO_HOST = 125


def main(words: list[str]) -> int:
    """Run the command; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.engines.emulated")
    host.add_options(parser)
    parser.add_argument("--seconds", type=float, default=600.0, help="time of COMMAND")
    parser.add_argument("--console", type=Path, metavar="FILE", help="keep its console")
    parser.add_argument(
        "--writable", type=Path, action="append", default=[], metavar="DIRECTORY",
        help="where the command may write files that stay",
    )  # fmt: skip
    parser.add_argument("command", nargs="+")
    asked = parser.parse_args(words)
    try:
        if reason := fit.lacking(asked.host, asked.memory):
            raise Unavailable(reason)
        kernel_found = kernel.find(asked.host)
    except Unavailable as reason_given:
        sys.stderr.write(f"no emulated host: {reason_given}\n")
        return NO_HOST
    job = host.Job(
        asked.command,
        Path.cwd(),
        asked.seconds,
        host.environment(),
        needs=[Path(sys.prefix)],
        writable=[path.resolve() for path in asked.writable],
    )
    with tempfile.TemporaryDirectory() as directory:
        console = asked.console or Path(directory) / "console"
        ended = host.run(
            kernel_found,
            job,
            console=console,
            output=host.show,
            memory_mib=asked.memory,
            cpus=asked.cpus,
        )
    return exit_code(ended)


def exit_code(ended: Ending) -> int:
    """Return the exit code of a host's end, and say it where it is not the job's."""
    if ended.kind is Kind.JOB:
        assert ended.code is not None
        return ended.code
    sys.stderr.write(f"{ended.told()}\n")
    return EXPIRED if ended.kind is Kind.EXPIRED else NO_HOST


if __name__ == "__main__":
    host.program(main)
