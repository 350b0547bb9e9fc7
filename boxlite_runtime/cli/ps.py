# SPDX-License-Identifier: Apache-2.0
"""``boxlite ps``: what runs in a container, which the host cannot see."""

import json
import os
from dataclasses import asdict

import click

from boxlite_runtime import containers
from boxlite_runtime.errors import BoxliteError, ExitCode
from boxlite_runtime.paths import host_layout


@click.command()
@click.argument("container")
@click.option("--namespace", metavar="NAME", help="containerd's, where the id is.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def ps(container: str, namespace: str | None, as_json: bool) -> None:
    """Show the processes of a running CONTAINER.

    CONTAINER is a name Docker knows, an id, or the beginning of an id. The
    numbers are those seen inside; a parent 0 is outside of the container.
    """
    if os.geteuid() != 0:
        raise BoxliteError(
            "only root may ask a shim",
            hint="Run it as root.",
            exit_code=ExitCode.HOST_UNFIT,
        )
    layout = host_layout()
    found = containers.find(layout, container, namespace)
    told = containers.processes(layout, found)
    if as_json:
        click.echo(json.dumps([asdict(process) for process in told], indent=2))
        return
    click.echo(f"{'PID':>7} {'PARENT':>7} {'UID':>7} COMMAND")
    for process in told:
        command = "".join(c if c.isprintable() else "?" for c in process.command)
        click.echo(f"{process.pid:7} {process.parent:7} {process.uid:7} {command}")
