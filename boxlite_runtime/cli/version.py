# SPDX-License-Identifier: Apache-2.0
"""``boxlite version``: the versions of the tool and of what is installed."""

import json
from typing import Any

import click

from boxlite_runtime import __version__
from boxlite_runtime.errors import BoxliteError
from boxlite_runtime.installer import files
from boxlite_runtime.paths import host_layout


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def version(as_json: bool) -> None:
    """Print the versions of the tool and of the installed runtime."""
    layout = host_layout()
    found = {
        "boxlite": __version__,
        "shim": files.file_digest(layout.shim),
        "kernel": _image("vmlinux").get("release"),
        "initrd": _image("initrd.img").get("sha256"),
    }
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for name, what in found.items():
        click.echo(f"{name:8} {what or 'not installed'}")


def _image(name: str) -> dict[str, Any]:
    """Return what the installed manifest says of an image, {} if nothing."""
    manifest = host_layout().manifest
    try:
        images = json.loads(manifest.read_text()).get("images", {})
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise BoxliteError(f"{manifest} is damaged", hint="boxlite install") from error
    found = images.get(name, {})
    return found if isinstance(found, dict) else {}
