# SPDX-License-Identifier: Apache-2.0
"""``boxlite rootfs``: pack the initrd."""

from pathlib import Path

import click

from boxlite_runtime.guest import initrd, manifest
from boxlite_runtime.paths import host_layout, source_tree


@click.group(name="rootfs")
def group() -> None:
    """Pack the initrd that holds the agent."""


@group.command()
@click.option(
    "--agent",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The agent's binary (default: the one built in the source tree).",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write it to this file, and what describes it to FILE.json.",
)
def build(agent: Path | None, output: Path | None) -> None:
    """Pack the initrd, and print where it is.

    It goes to the build cache, where `boxlite install` takes it from. The
    same agent always gives the same bytes.
    """
    tree = source_tree()
    declared = initrd.layout(tree / "guest-kernel-config" / "rootfs.yaml")
    packed = initrd.pack(declared, agent or tree / declared.built)
    if output is None:
        cache = host_layout().build_cache
        output = manifest.publish(cache, manifest.INITRD, packed.image, packed.about)
    else:
        output.parent.mkdir(parents=True, exist_ok=True)
        manifest.write(output, packed.image)
        manifest.write_json(output.with_name(f"{output.name}.json"), packed.about)
    click.echo(str(output))
