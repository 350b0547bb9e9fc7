# SPDX-License-Identifier: Apache-2.0
"""``boxlite install``: put the built runtime on this host.

Owns: the order plan, act, reload, probe, template, and what is printed. Does
not own: any of these steps.
"""

import json
from dataclasses import replace
from pathlib import Path

import click

from boxlite_runtime import templates
from boxlite_runtime.installer import apply, daemons, observe, plan, probe
from boxlite_runtime.installer.journal import Kind
from boxlite_runtime.paths import Layout, host_layout, source_tree
from boxlite_runtime.progress import step


@click.command()
@click.option(
    "--prefix",
    type=click.Path(path_type=Path, resolve_path=True),
    default=Layout.prefix,
    show_default=True,
    help="Where binaries, kernel and initrd go.",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path, resolve_path=True, exists=True, file_okay=False),
    default=Layout.root,
    help="Install below another root, for packaging: no probe, no reload.",
)
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def install(prefix: Path, root: Path, dry_run: bool, as_json: bool) -> None:
    """Install the built shim, kernel and initrd, and tell the engines.

    Safe to run again: what is in place already is not touched. boxlite
    uninstall takes everything back, byte for byte.
    """
    layout = replace(host_layout(), prefix=prefix, root=root)
    facts = observe.facts(layout, source_tree())
    decided = plan.install(facts)
    if not dry_run:
        apply.apply(decided, facts.journal)
    answer = None
    if not dry_run and root == Path("/"):
        answer = _tell_and_probe(layout, decided)
        if note := templates.build_default(layout):
            decided = replace(decided, notes=(*decided.notes, note))
    if as_json:
        click.echo(json.dumps(_as_json(decided, dry_run, answer), indent=2))
        return
    _print(decided, dry_run, answer)


def _tell_and_probe(layout: Layout, decided: plan.Plan) -> probe.Answer:
    if decided.touches(Kind.DOCKER):
        daemons.reload_docker(expect_runtime=True)
    remembered = probe.look(layout)
    # The answer holds for one guest too, which only an installation changes.
    same_guest = not decided.touches(Kind.BINARY)
    if remembered.answer and same_guest and not remembered.to_be_asked:
        return remembered.answer
    with step("Booting a guest to choose the accelerator"):
        return probe.ask(layout)


def _print(decided: plan.Plan, dry_run: bool, answer: probe.Answer | None) -> None:
    for action in decided.actions:
        click.echo(f"{'would ' if dry_run else ''}{action.describe()}")
    if not decided.actions:
        click.echo("everything is in place already")
    for note in decided.notes:
        click.echo(f"note: {note}")
    if decided.touches(Kind.CONTAINERD):
        click.echo("note: Kubernetes sees the runtime after a restart of containerd")
    if answer is not None:
        hint = f" -> {answer.hint}" if answer.hint else ""
        click.echo(f"accelerator: {answer.says}{hint}")


def _as_json(
    decided: plan.Plan, dry_run: bool, answer: probe.Answer | None
) -> dict[str, object]:
    return {
        "dry_run": dry_run,
        "actions": [action.describe() for action in decided.actions],
        "notes": list(decided.notes),
        "restart_containerd": decided.touches(Kind.CONTAINERD),
        "accelerator": answer.about() if answer else None,
    }
