# SPDX-License-Identifier: Apache-2.0
"""``boxlite kernel``: resolve and build the guest kernel."""

import json
from pathlib import Path

import click

from boxlite_runtime.guest import fragments, kernel, manifest, record
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
@click.option("--check", is_flag=True, help="Compare with the record.")
@click.option("--write", is_flag=True, help="Record the result in the tree.")
def config(profile: str | None, version: str | None, check: bool, write: bool) -> None:
    """Print the configuration the kernel makes of the fragments.

    Fails when a requested option did not survive, naming it and its place.
    With --check it compares with the one in resolved/ and prints what differs:
    a failure on the point release that was recorded, and on another one where
    a fragment asks for it. With --write it puts the result there.
    """
    if check and write:
        raise click.UsageError("--check and --write exclude each other")
    catalogue = _catalogue()
    selection = catalogue.select(version=version, profile=profile)
    resolved = kernel.configuration(catalogue, selection, host_layout().build_cache)
    now = record.portable(resolved.release, resolved.config)
    path = catalogue.resolved_path(selection)
    if check:
        _check(catalogue, selection, now)
    elif write:
        path.parent.mkdir(exist_ok=True)
        path.write_text(record.render(now))
        click.echo(str(path))
    else:
        click.echo(resolved.config, nl=False)


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


def _check(catalogue: Catalogue, selection: Selection, now: record.Record) -> None:
    recorded = record.read(catalogue.resolved_path(selection))
    requests = fragments.merge(catalogue.fragment_paths(selection))
    comparison = record.compare(recorded, now, requests)
    record.refuse_failures(selection.name, comparison)
    for difference in comparison.differences:
        click.echo(str(difference))
    if recorded.release == now.release:
        verdict = f"as recorded of Linux {now.release}"
    else:
        verdict = (
            f"recorded of Linux {recorded.release}, this is {now.release}: all that "
            f"is asked for holds; other options that differ: "
            f"{len(comparison.differences)}"
        )
    click.echo(f"{selection.name}: {verdict}", err=True)
