# SPDX-License-Identifier: Apache-2.0
"""``boxlite conformance``: compare a runtime with runc through an engine."""

import platform
import time
from datetime import UTC, datetime
from pathlib import Path

import click

from boxlite_runtime.conformance import report, schema, selection
from boxlite_runtime.conformance.case import Case
from boxlite_runtime.conformance.compare import FAILING, Result
from boxlite_runtime.conformance.engines import ENGINES
from boxlite_runtime.conformance.session import Session, run_name
from boxlite_runtime.errors import BoxliteError, ExitCode
from boxlite_runtime.installer import probe
from boxlite_runtime.paths import host_layout
from boxlite_runtime.progress import Step, step

File = click.Path(path_type=Path, dir_okay=False)
#: Cells of the progress bar.
BAR = 20


@click.group(name="conformance")
def group() -> None:
    """Compare a runtime with runc through a real engine."""


@group.command()
@click.option(
    "--engine",
    type=click.Choice(list(ENGINES)),
    default="docker",
    show_default=True,
    help="What to type the cases at.",
)
@click.option(
    "--host", metavar="URL", help="Where the engine is, if not where it looks."
)
@click.option("--runtime", default="boxlite", show_default=True, help="What is proved.")
@click.option(
    "--reference", default="runc", show_default=True, help="What it is compared with."
)
@click.option("-k", "expression", default="", metavar="EXPR", help="Which cases.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Cases at once.",
)
@click.option("--json", "json_file", type=File, help="Write the record to this file.")
@click.option("--markdown", type=File, help="Write the page to this file.")
@click.option("--list", "listing", is_flag=True, help="Print the cases and do none.")
@click.pass_context
def run(
    ctx: click.Context,
    *,
    engine: str,
    host: str | None,
    runtime: str,
    reference: str,
    expression: str,
    jobs: int,
    json_file: Path | None,
    markdown: Path | None,
    listing: bool,
) -> None:
    """Do every case under both runtimes, and compare.

    Ends with 1 if a case differs without saying so. Nothing that was made
    for the cases is left, be the run interrupted or not.
    """
    cases = selection.selected(expression, schema.load())
    if not cases:
        raise click.UsageError(f"-k {expression!r} means no case")
    if listing:
        for case in cases:
            click.echo(f"{case.area}: {case.name}")
        return
    name = run_name()
    adapter = ENGINES[engine](host, name)
    missing = adapter.missing()
    if missing:
        # Nothing was compared; that is neither agreement nor difference.
        click.echo(f"skipped: {missing}")
        return
    session = Session(
        engine=adapter,
        runtime=adapter.known(runtime),
        reference=adapter.known(reference),
        jobs=jobs,
        cache=host_layout().build_cache,
        run=name,
        local=host is None or not host.startswith(("tcp:", "ssh:")),
    )
    record = _recorded(session, cases, runtime, reference)
    click.echo(report.summary(record))
    if json_file is not None:
        json_file.write_text(report.written(record))
    if markdown is not None:
        markdown.write_text(report.page([record]))
    if any(record.counts[verdict.value] for verdict in FAILING):
        ctx.exit(ExitCode.FAILURE)


def _recorded(
    session: Session, cases: list[Case], runtime: str, reference: str
) -> report.Record:
    began = time.monotonic()
    engine = session.engine
    versions = engine.version()
    with step(f"{len(cases)} cases, {runtime} beside {reference}") as current:
        results = session.go(cases, _Bar(current, len(cases)).told)
    return report.Record(
        engine=engine.name,
        versions=versions,
        runtime=runtime,
        reference=reference,
        host=_host(),
        date=datetime.now(UTC).date().isoformat(),
        seconds=round(time.monotonic() - began, 1),
        cases=[report.entry(result) for result in results],
    )


def _host() -> str:
    answer = probe.read(host_layout().accel)
    with_accel = f", {answer.accel}" if answer is not None else ""
    return f"Linux {platform.release()}{with_accel}"


class _Bar:
    """How far the cases are, shown beside the step."""

    def __init__(self, current: Step, total: int) -> None:
        self._current = current
        self._total = total
        self._done = 0
        self._bad = 0

    def told(self, result: Result) -> None:
        """Count one more."""
        self._done += 1
        self._bad += result.verdict in FAILING
        filled = "#" * (BAR * self._done // self._total)
        self._current.note(f"[{filled:.<{BAR}}] {self._done}, {self._bad} failing")


@group.command(name="report")
@click.argument("records", nargs=-1, required=True, type=File)
@click.option(
    "--output",
    type=File,
    default=Path("docs/reference/conformance.md"),
    show_default=True,
    help="Where the page goes.",
)
def render(records: tuple[Path, ...], output: Path) -> None:
    """Write the page about one or more records of `run --json`."""
    text = report.page([report.recorded(path) for path in records])
    try:
        output.write_text(text)
    except OSError as error:
        raise BoxliteError(f"cannot write {output}: {error.strerror}") from error
    click.echo(str(output))
