# SPDX-License-Identifier: Apache-2.0
"""``boxlite bench``: measure a runtime beside another one."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from boxlite_runtime.bench import files, memory, page, picture, record, streams, text
from boxlite_runtime.bench import start as starting
from boxlite_runtime.bench.exits import works
from boxlite_runtime.bench.exits.machine import instruction_set
from boxlite_runtime.bench.exits.trace import tracing
from boxlite_runtime.bench.record import Measure, Record
from boxlite_runtime.bench.session import WORDS, Session, Wanted, opened
from boxlite_runtime.errors import BoxliteError, ExitCode

File = click.Path(path_type=Path, dir_okay=False)
Count = click.IntRange(min=1)
Command = Callable[..., Any]


@click.group(name="bench")
def group() -> None:
    """Measure a runtime beside another one through a real engine."""


def _options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


_runtime = click.option(
    "--runtime", default="boxlite", show_default=True, help="What is measured."
)
_beside = _options(
    _runtime,
    click.option(
        "--reference", default="runc", show_default=True, help="What it is beside."
    ),
    click.option("--also", multiple=True, help="Measure this too, if it is there."),
)
_engine = click.option(
    "--engine", type=click.Choice(list(WORDS)), default="docker", show_default=True,
    help="What starts the containers.",
)  # fmt: skip
_host = click.option(
    "--host", metavar="URL", help="Where the engine is, if not where it looks."
)
_json = click.option(
    "--json", "json_file", type=File, help="Write the record to this file."
)


def _rounds(count: int) -> Callable[[Command], Command]:
    return click.option(
        "--rounds", type=Count, default=count, show_default=True,
        help="How often each runtime does it.",
    )  # fmt: skip


def _image(name: str) -> Callable[[Command], Command]:
    return click.option(
        "--image", default=name, show_default=True,
        help="busybox or debian, which are made; or one the engine has.",
    )  # fmt: skip


@group.command()
@_rounds(30)
@_beside
@_engine
@_image("busybox")
@_host
@click.option(
    "--network", help="Docker's network for the containers, for instance none."
)
@click.option("--parallel", type=Count, default=1, help="Start this many at once.")
@click.option("--log", type=File, help="The log of containerd, for the phases.")
@_json
@click.option("--svg", type=File, help="Write the picture of the phases to this file.")
@click.option("--markdown", type=File, help="Write the page to this file.")
@click.pass_context
def start(
    ctx: click.Context,
    /,
    *,
    rounds: int,
    parallel: int,
    log: Path | None,
    json_file: Path | None,
    svg: Path | None,
    markdown: Path | None,
    **wanted: Any,  # noqa: ANN401  (the fields of Wanted)
) -> None:
    """Start, await and remove containers that do nothing, in turns.

    Ends with 1 if a start failed with --parallel; without, that ends the run.
    """
    heard = starting.Log(starting.found_log(log))
    with opened(_wanted(wanted)) as session:
        about = _about(session, rounds, "1" if parallel == 1 else str(parallel))
        if parallel == 1:
            measures, phases = starting.serial(session, rounds, heard)
        else:
            measures, phases = starting.at_once(session, rounds, parallel, heard)
        made = _record("start", session, about, measures, phases)
    _told(made, json_file)
    if svg is not None:
        _write(svg, picture.drawn(picture.bars([made])))
    if markdown is not None:
        beside = svg.name if svg is not None and svg.parent == markdown.parent else None
        _write(markdown, page.page([made], beside))
    if made.failures:
        ctx.exit(ExitCode.FAILURE)


@group.command(name="exec")
@_rounds(30)
@_beside
@_engine
@_image("busybox")
@_host
@_json
def execute(*, rounds: int, json_file: Path | None, **wanted: Any) -> None:  # noqa: ANN401
    """Execute a command that does nothing in a running container, in turns."""
    with opened(_wanted(wanted)) as session:
        about = _about(session, rounds)
        made = _record("exec", session, about, starting.executing(session, rounds))
    _told(made, json_file)


@group.command(name="stdio")
@_rounds(10)
@_beside
@_image("busybox")
@_host
@_json
def carrying(*, rounds: int, json_file: Path | None, **wanted: Any) -> None:  # noqa: ANN401
    """Carry bytes out of and into a command in a running container, in turns."""
    with opened(_wanted(wanted)) as session:
        about = _about(session, rounds)
        made = _record("stdio", session, about, streams.measured(session, rounds))
    _told(made, json_file)


@group.command(name="memory")
@click.option(
    "--containers", type=Count, default=10, show_default=True, help="How many are kept."
)
@_runtime
@_engine
@_image("busybox")
@_host
@_json
def resident(*, containers: int, json_file: Path | None, **wanted: Any) -> None:  # noqa: ANN401
    """Measure what shim, QEMU and virtiofsd of an idle container cost."""
    # Compared with nothing: runc leaves nothing of its own behind.
    with opened(_wanted(wanted | {"reference": wanted["runtime"]})) as session:
        about = {"image": session.wanted.image, "containers": str(containers)}
        made = _record("memory", session, about, memory.idle(session, containers))
    _told(made, json_file)


@group.command(name="files")
@_rounds(5)
@_beside
@_image("debian")
@_host
@_json
@click.pass_context
def reading(
    ctx: click.Context,
    /,
    *,
    rounds: int,
    json_file: Path | None,
    **wanted: Any,  # noqa: ANN401  (the fields of Wanted)
) -> None:
    """Read, write, unpack and clone, on a volume and on the root filesystem.

    The image debian is made with debootstrap, in minutes, and kept; busybox
    leaves out what needs git or Python. Ends with 1 if something failed that
    could be done before.
    """
    with opened(_wanted(wanted)) as session:
        about = _about(session, rounds)
        made = _record("files", session, about, files.measured(session, rounds))
    _told(made, json_file)
    if made.failures:
        ctx.exit(ExitCode.FAILURE)


@group.command(name="exits")
@_rounds(5)
@_runtime
@click.option(
    "--only", multiple=True, type=click.Choice(works.WORKS), help="Count this alone."
)
@click.option(
    "--rest",
    type=click.FloatRange(min=0),
    default=works.REST,
    show_default=True,
    metavar="SECONDS",
    help="How long a container is left alone before it is idle.",
)
@_host
@_json
@click.pass_context
def leaving(
    ctx: click.Context,
    /,
    *,
    rounds: int,
    only: tuple[str, ...],
    rest: float,
    json_file: Path | None,
    **wanted: Any,  # noqa: ANN401
) -> None:
    """Count how often a guest leaves its processor for the host, by reason.

    Needs root and machines that run under KVM. Ends with 1 if something failed.
    """
    # Compared with nothing: runc has no machine that could be left.
    asked = _wanted(wanted | {"reference": wanted["runtime"]})
    with tracing() as trace, opened(asked) as session:
        measures, how = works.measured(
            session, trace, rounds, only or works.WORKS, rest
        )
        about = _about(session, rounds) | how | {"processor": instruction_set()}
        made = _record("exits", session, about, measures)
    _told(made, json_file)
    if made.failures:
        ctx.exit(ExitCode.FAILURE)


@group.command(name="report")
@click.argument("records", nargs=-1, required=True, type=File)
@click.option(
    "--output", type=File, default=Path("docs/reference/performance.md"),
    show_default=True, help="Where the page goes; the picture goes beside it.",
)  # fmt: skip
def render(records: tuple[Path, ...], output: Path) -> None:
    """Write the page about one or more records, and its picture.

    What stands on the page below the line that says so was written by a
    person and stays.
    """
    read = [record.read(path) for path in records]
    bars = picture.bars(read)
    beside = output.with_name(f"{output.stem}-start.svg") if bars else None
    older = output.read_text() if output.exists() else ""
    _write(output, page.kept(older, page.page(read, beside.name if beside else None)))
    click.echo(str(output))
    if beside is not None:
        _write(beside, picture.drawn(bars))
        click.echo(str(beside))


def _wanted(options: dict[str, Any]) -> Wanted:
    wanted = Wanted(**options)
    if wanted.network is not None and wanted.engine != "docker":
        raise click.UsageError("--network is Docker's; ctr gives no network")
    return wanted


def _about(session: Session, rounds: int, at_once: str | None = None) -> dict[str, str]:
    """Return how it is measured, a word and a value each."""
    wanted = session.wanted
    about = {"engine": wanted.engine, "image": wanted.image, "rounds": str(rounds)}
    about |= {"network": wanted.network} if wanted.network else {}
    return about | ({"at once": at_once} if at_once else {})


def _record(
    kind: str,
    session: Session,
    about: dict[str, str],
    measures: list[Measure],
    phases: dict[str, list[float]] | None = None,
) -> Record:
    wanted = session.wanted
    return Record(
        kind=kind,
        engine=wanted.engine,
        runtime=wanted.runtime,
        reference=wanted.reference,
        date=datetime.now(UTC).date().isoformat(),
        host=session.facts,
        method=about,
        measures=measures,
        phases=phases or {},
        notes=session.notes,
    )


def _told(made: Record, json_file: Path | None) -> None:
    click.echo(text.told(made))
    if json_file is not None:
        _write(json_file, record.written(made))


def _write(path: Path, content: str) -> None:
    try:
        path.write_text(content)
    except OSError as error:
        raise BoxliteError(f"cannot write {path}: {error.strerror}") from error
