# SPDX-License-Identifier: Apache-2.0
"""``boxlite version``: the versions of the tool and of what is installed."""

import json

import click

from boxlite_runtime import __version__
from boxlite_runtime.paths import host_layout


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def version(as_json: bool) -> None:
    """Print the versions of the tool and of the installed guest."""
    manifest = host_layout().manifest
    guest = json.loads(manifest.read_text()) if manifest.exists() else None
    if as_json:
        click.echo(json.dumps({"boxlite": __version__, "guest": guest}))
        return
    click.echo(f"boxlite {__version__}")
    click.echo(f"guest {json.dumps(guest)}" if guest else "guest not installed")
