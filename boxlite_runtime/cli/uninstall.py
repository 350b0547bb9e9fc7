# SPDX-License-Identifier: Apache-2.0
"""``boxlite uninstall``: take back what ``boxlite install`` did.

Owns: the refusal while containers run, and the removal of derived state.
Does not own: packages, the build cache, and this tool itself.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import click

from boxlite_runtime.errors import BoxliteError
from boxlite_runtime.installer import apply, daemons, docker_config, plan
from boxlite_runtime.installer import journal as journals
from boxlite_runtime.installer.journal import Kind
from boxlite_runtime.paths import Layout, host_layout


@click.command()
@click.option(
    "--root",
    type=click.Path(path_type=Path, resolve_path=True, exists=True, file_okay=False),
    default=Layout.root,
    help="Uninstall below another root.",
)
@click.option("--force", is_flag=True, help="Do it although containers are running.")
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def uninstall(root: Path, force: bool, dry_run: bool, as_json: bool) -> None:
    """Restore every file the installation changed, remove those it made.

    Asks nothing. A file edited since then keeps the edits and loses only
    what BoxLite had put there.
    """
    layout = replace(host_layout(), root=root)
    journal = journals.load(layout.journal)
    decided = plan.uninstall(journal, _contents(journal))
    forgotten = True
    if not dry_run:
        if root == Path("/") and not force:
            _refuse_while_running(journal)
        apply.apply(decided, journal)
        _remove_state(layout)
        if root == Path("/") and decided.touches(Kind.DOCKER):
            forgotten = _tell_docker(layout)
    lines = [action.describe() for action in decided.actions]
    if as_json:
        click.echo(json.dumps({"dry_run": dry_run, "actions": lines}, indent=2))
        return
    for line in lines or ["nothing is installed"]:
        click.echo(line)
    if not forgotten:
        click.echo("note: dockerd forgets the runtime when it is restarted")
    if decided.touches(Kind.CONTAINERD):
        click.echo("note: containerd forgets the runtime when it is restarted")


def _contents(journal: journals.Journal) -> dict[Path, bytes]:
    paths = [entry.path for entry in journal.entries]
    return {path: path.read_bytes() for path in paths if path.exists()}


def _refuse_while_running(journal: journals.Journal) -> None:
    running = [
        pid
        for entry in journal.entries
        if entry.kind is Kind.BINARY
        for pid in daemons.processes_running(entry.path)
    ]
    if running:
        raise BoxliteError(
            f"{len(running)} containers still run under boxlite",
            hint="Stop them first, or use --force and leave them without a runtime.",
        )


def _tell_docker(layout: Layout) -> bool:
    """Have a running dockerd reread its file; tell whether that is enough."""
    file = layout.docker_config
    if not docker_config.names_runtimes(file.read_text() if file.exists() else None):
        return daemons.dockerd_pid() is None
    daemons.reload_docker(expect_runtime=False)
    return True


def _remove_state(layout: Layout) -> None:
    """Remove what was derived after the installation, and our directories."""
    if layout.templates.exists():
        shutil.rmtree(layout.templates)
    originals = journals.load(layout.journal).originals
    # The shim writes its answer beside the old one first.
    unfinished = layout.accel.with_suffix(".new")
    for leftover in (layout.accel, unfinished, layout.journal):
        leftover.unlink(missing_ok=True)
    for directory in (originals, layout.state):
        if directory.exists() and not any(directory.iterdir()):
            directory.rmdir()
