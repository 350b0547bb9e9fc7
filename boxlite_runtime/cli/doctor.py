# SPDX-License-Identifier: Apache-2.0
"""``boxlite doctor``: what is wrong with this host, and what to do about it."""

import json
from dataclasses import asdict
from textwrap import indent

import click

from boxlite_runtime.doctor import examine
from boxlite_runtime.doctor.finding import Level
from boxlite_runtime.errors import ExitCode
from boxlite_runtime.paths import host_layout

MARKS = {Level.OK: "ok  ", Level.NOTE: "note", Level.PROBLEM: "FAIL"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Examine this host, one line for each finding, with its cure.

    Ends with 0 if containers can run, 1 if there is a problem.
    """
    findings = examine(host_layout())
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            cure = f" -> {finding.cure}" if finding.cure else ""
            click.echo(f"{MARKS[finding.level]} {finding.check}: {finding.says}{cure}")
            if ctx.obj["debug"] and finding.about and finding.about.get("detail"):
                click.echo(indent(finding.about["detail"], "     | "))
    bad = any(finding.level is Level.PROBLEM for finding in findings)
    ctx.exit(ExitCode.FAILURE if bad else ExitCode.OK)
