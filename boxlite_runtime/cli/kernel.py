# SPDX-License-Identifier: Apache-2.0
"""``boxlite kernel``: resolve and build the guest kernel."""

import difflib
import json
from pathlib import Path

import click

from boxlite_runtime.errors import BoxliteError
from boxlite_runtime.guest import kconfig, kernel, manifest
from boxlite_runtime.guest.catalogue import Catalogue, Selection, load
from boxlite_runtime.paths import host_layout, source_tree


def _catalogue() -> Catalogue:
    return load(source_tree() / "guest-kernel-config")


@click.group(name="kernel")
def group() -> None:
    """Resolve and build the guest kernel."""


@group.command()
@click.option("--profile", metavar="NAME", help="What to build (profiles.yaml).")
@click.option("--version", metavar="VERSION", help="Which kernel (kernel.yaml).")
@click.option("--check", is_flag=True, help="Compare with the recorded result.")
@click.option("--write", is_flag=True, help="Record the result in the tree.")
def config(profile: str | None, version: str | None, check: bool, write: bool) -> None:
    """Print the configuration the kernel makes of the fragments.

    Fails when a requested option did not survive, naming it and its place.
    With --check it prints nothing and fails when the result differs from the
    one in resolved/; with --write it puts the result there.
    """
    if check and write:
        raise click.UsageError("--check and --write exclude each other")
    catalogue = _catalogue()
    selection = catalogue.select(version=version, profile=profile)
    text = kernel.configuration(catalogue, selection, host_layout().build_cache)
    recorded = catalogue.resolved_path(selection)
    if check:
        _compare(kconfig.portable(text), recorded, selection)
        click.echo(f"{selection.name}: as recorded", err=True)
    elif write:
        recorded.parent.mkdir(exist_ok=True)
        recorded.write_text(kconfig.portable(text))
        click.echo(str(recorded))
    else:
        click.echo(text, nl=False)


@group.command()
@click.option("--profile", metavar="NAME", help="What to build (profiles.yaml).")
@click.option("--version", metavar="VERSION", help="Which kernel (kernel.yaml).")
@click.option("--jobs", type=click.IntRange(min=1), help="Compilers at once.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write it to this file.",
)
def build(
    profile: str | None, version: str | None, jobs: int | None, output: Path | None
) -> None:
    """Build the guest kernel, and print where it is.

    It goes to the build cache, where `boxlite install` takes it from. The
    same fragments, source and compiler are built once.
    """
    catalogue = _catalogue()
    selection = catalogue.select(version=version, profile=profile)
    cache = host_layout().build_cache
    built = kernel.build(catalogue, selection, cache, jobs=jobs)
    image = built.image.read_bytes()
    if output is None:
        about = json.loads(built.manifest.read_text())
        output = manifest.publish(cache, manifest.KERNEL, image, about)
    else:
        output.parent.mkdir(parents=True, exist_ok=True)
        manifest.write(output, image)
    click.echo(str(output))


def _compare(text: str, recorded: Path, selection: Selection) -> None:
    try:
        before = recorded.read_text()
    except OSError as error:
        raise BoxliteError(
            f"{selection.name} is not recorded: {recorded}: {error.strerror}",
            hint="boxlite kernel config --write",
        ) from error
    if before != text:
        lines = difflib.unified_diff(
            before.splitlines(),
            text.splitlines(),
            str(recorded),
            "what the fragments give now",
            lineterm="",
            n=0,
        )
        raise BoxliteError(
            f"{selection.name} differs from the record:\n" + "\n".join(lines),
            hint="boxlite kernel config --write records it.",
        )
