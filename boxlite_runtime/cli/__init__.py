# SPDX-License-Identifier: Apache-2.0
"""The ``boxlite`` command.

Owns: the table of commands, and the one place where a failure becomes a
message and an exit code. Does not own: what a command does; each command is
a module of its own, imported only when it is called.

Call order: ``main`` -> the group -> the command -> ``_report`` on failure.
"""

import importlib
import signal
import sys
import traceback
from types import FrameType
from typing import NoReturn

import click

from boxlite_runtime import __version__
from boxlite_runtime.errors import BoxliteError, ExitCode

#: Command name -> where its click command lives. Add a line with the module.
COMMANDS: dict[str, str] = {
    "install": "boxlite_runtime.cli.install:install",
    "uninstall": "boxlite_runtime.cli.uninstall:uninstall",
    "doctor": "boxlite_runtime.cli.doctor:doctor",
    "ps": "boxlite_runtime.cli.ps:ps",
    "kernel": "boxlite_runtime.cli.kernel:group",
    "rootfs": "boxlite_runtime.cli.rootfs:group",
    "template": "boxlite_runtime.cli.template:group",
    "conformance": "boxlite_runtime.cli.conformance:group",
    "bench": "boxlite_runtime.cli.bench:group",
    "version": "boxlite_runtime.cli.version:version",
}


class LazyGroup(click.Group):
    """A group that imports a command's module only when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; ``None`` for an unknown name."""
        target = COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, _, attribute = target.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{target} is not a click command")
        return command


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--debug",
    is_flag=True,
    help="Show the traceback of a failure, and the details of doctor's findings.",
)
@click.version_option(__version__, prog_name="boxlite")
@click.pass_context
def boxlite(ctx: click.Context, debug: bool) -> None:
    """Install, build, check and measure the BoxLite runtime."""
    ctx.obj = {"debug": debug}


def main(argv: list[str] | None = None) -> NoReturn:
    """Run ``boxlite`` and exit with one of ``ExitCode``."""
    words = sys.argv[1:] if argv is None else argv
    # Ended from outside: leave through the same doors, which end children too.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, _leave)
    debug = "--debug" in words
    try:
        # Not standalone: click would turn our errors into its own codes.
        result = boxlite.main(args=words, prog_name="boxlite", standalone_mode=False)
    except BoxliteError as error:
        sys.exit(_report(error, debug=debug))
    except click.ClickException as error:
        error.show()
        sys.exit(
            ExitCode.USAGE if error.exit_code == ExitCode.USAGE else ExitCode.FAILURE
        )
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(ExitCode.INTERRUPTED)
    sys.exit(result if isinstance(result, int) else ExitCode.OK)


def _leave(number: int, _: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _report(error: BoxliteError, *, debug: bool) -> ExitCode:
    if debug:
        traceback.print_exception(error)
    click.echo(f"boxlite: {error.message}", err=True)
    if error.hint:
        click.echo(f"  {error.hint}", err=True)
    return error.exit_code
