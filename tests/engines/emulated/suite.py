# SPDX-License-Identifier: Apache-2.0
"""Runs the system tests on emulated hosts: the part ``kvm`` of ``install/test``.

    python -m tests.engines.emulated.suite [--marker MARKER] [--logs DIRECTORY]

Owns: the division of the tests into jobs, a host for each, and once more a host for a
job whose host gave up. Does not own: the tests, which are those of ``tests/system``,
and how one host is run (``host``).

A job is short, since TCG's emulation of SVM can make a host's kernel panic. Such a job
is run once more, in a fresh host; a job in which a test failed is not.
"""

import argparse
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from boxlite_runtime.paths import host_layout
from tests.engines import command
from tests.engines.command import Word
from tests.engines.emulated import fit, host, kernel
from tests.engines.emulated.ending import Ending, Kind
from tests.engines.emulated.kernel import Kernel
from tests.engines.programs import Unavailable

ROOT = Path(__file__).resolve().parents[3]
#: Seconds a job may take.
SECONDS = 600.0
#: Tests a job has at most, as far as they are not of one module.
MOST = 12
#: Builds a template of the tests' own. In the job that has it, all other machines boot;
#: in the others they start from a template, as where somebody has installed.
BUILDING = "tests/system/test_templates.py"
#: What a job is told besides: clones that start at once.
ENVIRONMENT = {"BOXLITE_TEST_CLONES": "10"}


@dataclass(frozen=True)
class Plan:
    """What is run: test modules by jobs, and the marker that selects in them."""

    marker: str
    jobs: tuple[tuple[str, ...], ...]
    logs: Path


def main(words: list[str]) -> int:
    """Run the tests; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.engines.emulated.suite")
    host.add_options(parser)
    parser.add_argument("--marker", default="kvm", help="tests to run (default: kvm)")
    parser.add_argument(
        "--logs", type=Path, default=ROOT / ".logs/test", metavar="DIRECTORY",
        help="where the hosts' consoles are kept",
    )  # fmt: skip
    asked = parser.parse_args(words)
    try:
        if reason := fit.lacking(asked.host, asked.memory) or fit.installed():
            raise Unavailable(reason)
        found = kernel.find(asked.host)
    except Unavailable as reason_given:
        return without(str(reason_given))
    asked.logs.mkdir(parents=True, exist_ok=True)
    plan = Plan(asked.marker, divided(collected(asked.marker), MOST), asked.logs)
    return run(plan, lambda job, console: boot(found, job, console, asked))


def without(reason: str) -> int:
    """Say that no host can be had; return the exit code, which is CI's failure."""
    said = f"no emulated host: {reason}"
    if os.environ.get("CI") == "true":
        sys.stderr.write(f"{said}\n")
        return 1
    # Counted like a test of pytest's.
    sys.stdout.write(f"{said}\n1 skipped in 0.0s\n")
    return 0


def collected(marker: str) -> list[str]:
    """Return the ids of the tests with a marker, in pytest's order."""
    collect = ("--collect-only", "--quiet", "-m", marker, "tests/system")
    argv: list[Word] = ["env", "-C", ROOT, sys.executable, "-m", "pytest", *collect]
    lines = command.run(argv, timeout=300).ok().lines
    return [line for line in lines if "::" in line]


def divided(tests: Sequence[str], most: int) -> tuple[tuple[str, ...], ...]:
    """Divide tests into jobs of about ``most``, each a list of whole modules.

    The largest modules come first, each into the job with the fewest tests so far:
    what a module shares is made once.
    """
    sizes: dict[str, int] = {}
    for test in tests:
        module = test.partition("::")[0]
        sizes[module] = sizes.get(module, 0) + 1
    count = max(1, -(-len(tests) // most))
    jobs: list[list[str]] = [[] for _ in range(count)]
    for module in sorted(sizes, key=lambda name: (-sizes[name], name)):
        min(jobs, key=lambda job: sum(sizes[m] for m in job)).append(module)
    return tuple(tuple(sorted(job)) for job in jobs if job)


def run(plan: Plan, boots: Callable[[host.Job, Path], Ending]) -> int:
    """Run each job on a host of its own; return the exit code of all of them."""
    codes = []
    consoles = 0
    for number, modules in enumerate(plan.jobs, start=1):
        title = f"job {number} of {len(plan.jobs)}: {' '.join(map(short, modules))}"
        for attempt in (1, 2):
            consoles += 1
            console = plan.logs / f"kvm-console-{consoles}.log"
            say(f"==> {title}")
            began = time.monotonic()
            ended = boots(job_of(plan.marker, modules), console)
            say(f"{title}: {ended.told()} ({time.monotonic() - began:.0f} s)")
            if not ended.host_failed or attempt == 2:
                break
            say("no test has failed, its host has: once more, on a fresh one")
        codes.append(ended.code if ended.kind is Kind.JOB else 1)
    return next((code for code in codes if code), 0) if codes else 1


def job_of(marker: str, modules: Sequence[str]) -> host.Job:
    """Return the job that runs the tests with a marker in some modules."""
    pytest = [
        sys.executable, "-m", "pytest", "--verbose", "--color=no", "--durations=20",
        "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-m", marker, *modules,
    ]  # fmt: skip
    script = "exec " + shlex.join(pytest)
    if BUILDING not in modules:
        shim = shlex.quote(os.fspath(host_layout().shim))
        script = f"{shim} template build && {script}"
    return host.Job(
        ["bash", "-c", script],
        ROOT,
        SECONDS,
        {**host.environment(), **ENVIRONMENT},
        needs=[Path(sys.prefix)],
    )


def boot(
    found: Kernel, job: host.Job, console: Path, asked: argparse.Namespace
) -> Ending:
    """Run one job on one host of the size that was asked for."""
    return host.run(
        found,
        job,
        console=console,
        output=host.show,
        memory_mib=asked.memory,
        cpus=asked.cpus,
    )


def short(module: str) -> str:
    """Return what a module of tests is called."""
    return Path(module).stem.removeprefix("test_")


def say(line: str) -> None:
    """Write a line between what the jobs write."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    host.program(main)
