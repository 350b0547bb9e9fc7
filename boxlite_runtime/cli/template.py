# SPDX-License-Identifier: Apache-2.0
"""``boxlite template``: build, list, check and remove templates."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from boxlite_runtime import templates
from boxlite_runtime.errors import BoxliteError, ExitCode
from boxlite_runtime.paths import host_layout
from boxlite_runtime.templates.shim import Shim, Template

#: Characters of a key that a person is shown; enough to name it again.
SHOWN = 12


@click.group(name="template")
@click.option(
    "--config",
    type=click.Path(path_type=Path, resolve_path=True, exists=True, dir_okay=False),
    help="Another configuration of the shim.",
)
@click.pass_context
def group(ctx: click.Context, config: Path | None) -> None:
    """Build and keep the saved machines that containers start from."""
    layout = host_layout()
    ctx.obj = Shim(layout.shim, config or templates.configured(layout))


def _only_root() -> None:
    if os.geteuid() != 0:
        raise BoxliteError(
            "templates are root's alone",
            hint="Run it as root.",
            exit_code=ExitCode.HOST_UNFIT,
        )


@group.command()
@click.option("--size", "sizes", multiple=True, metavar="CPUSxMIB", help="Build this.")
@click.option("--force", is_flag=True, help="Build anew what is there.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
@click.pass_obj
def build(shim: Shim, sizes: tuple[str, ...], force: bool, as_json: bool) -> None:
    """Boot, save and try a machine, for others to start from.

    Without --size, the size of a container that says nothing, which fits all
    but those that ask for other CPUs by annotation. A template that is there
    and whole stays. It takes some seconds, under emulation most of all.
    """
    _only_root()
    wanted: list[str | None] = [*sizes] if sizes else [None]
    built: dict[str, tuple[Template, bool]] = {}
    for size in wanted:
        template, made = templates.build(shim, size, force=force)
        # The configured size may be named as well.
        built.setdefault(template.name, (template, made))
    if as_json:
        click.echo(_as_json([template for template, _ in built.values()]))
        return
    for template, made in built.values():
        click.echo(f"{_short(template)} {'built' if made else 'is there already'}")


@group.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
@click.pass_obj
def show(shim: Shim, as_json: bool) -> None:
    """List the templates, and whether a start can use them."""
    _only_root()
    found = shim.found()
    if as_json:
        click.echo(_as_json(found))
        return
    for template in found:
        click.echo(_line(template))


@group.command()
@click.argument("names", nargs=-1)
@click.option("--start", is_flag=True, help="Start a machine from each fresh one.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
@click.pass_context
def check(
    ctx: click.Context, names: tuple[str, ...], start: bool, as_json: bool
) -> None:
    """Examine templates, every byte of them.

    A start checks everything too, the memory by a faster sum. Ends with 1 if
    one is damaged; a stale one is not.
    """
    _only_root()
    shim: Shim = ctx.obj
    found = shim.check(_resolve(shim, names), start=start)
    if as_json:
        click.echo(_as_json(found))
    else:
        for template in found:
            click.echo(_line(template))
    damaged = any(template.state == "damaged" for template in found)
    ctx.exit(ExitCode.FAILURE if damaged else ExitCode.OK)


@group.command()
@click.argument("names", nargs=-1)
@click.option("--stale", is_flag=True, help="Remove what no start can use.")
@click.option("--all", "every", is_flag=True, help="Remove all.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array of names.")
@click.pass_obj
def rm(
    shim: Shim, names: tuple[str, ...], stale: bool, every: bool, as_json: bool
) -> None:
    """Remove templates by name, or by what names begin with."""
    _only_root()
    if not names and not stale and not every:
        raise click.UsageError("say which: NAMES, --stale or --all")
    chosen = _resolve(shim, names)
    for template in shim.found():
        unusable = stale and template.state != "fresh"
        if (every or unusable) and template.name not in chosen:
            chosen.append(template.name)
    shim.remove(chosen)
    if as_json:
        click.echo(json.dumps(chosen))
        return
    for name in chosen:
        click.echo(f"removed {name}")


def _resolve(shim: Shim, names: Sequence[str]) -> list[str]:
    """Return the whole names of what people name by its beginning."""
    if not names:
        return []
    there = [template.name for template in shim.found()]
    resolved = []
    for name in names:
        fitting = [whole for whole in there if whole.startswith(name)]
        if len(fitting) != 1:
            problem = "several templates" if fitting else "no template"
            raise BoxliteError(
                f"{problem} named {name}", hint="boxlite template list shows them."
            )
        resolved += fitting
    return resolved


def _as_json(found: Sequence[Template]) -> str:
    return json.dumps([asdict(template) for template in found], indent=2)


def _short(template: Template) -> str:
    return template.name[: len(template.size) + 1 + SHOWN]


def _line(template: Template) -> str:
    if template.why is not None:
        return f"{_short(template)} {template.state}: {template.why}"
    size = f"{(template.memory_bytes or 0) / (1 << 20):.1f} MiB"
    return f"{_short(template)} {template.state}, {size}, used {_time(template.used)}"


def _time(seconds: int | None) -> str:
    return datetime.fromtimestamp(seconds or 0, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")
