# SPDX-License-Identifier: Apache-2.0
"""Reading cases: what is understood, and what a mistake is told as."""

from pathlib import Path

import pytest

from boxlite_runtime.conformance import schema
from boxlite_runtime.conformance.case import Case, Exit, Match
from boxlite_runtime.conformance.images import RECIPES
from boxlite_runtime.errors import BoxliteError

HEAD = "area: Somewhere\n"


def read(tmp_path: Path, text: str) -> list[Case]:
    path = tmp_path / "some.yaml"
    path.write_text(HEAD + text)
    return schema.read_file(path)


def test_a_case_that_runs_a_script_is_a_run_and_a_look_at_the_state(
    tmp_path: Path,
) -> None:
    (case,) = read(
        tmp_path,
        "cases:\n"
        "  - name: it works\n"
        "    core: true\n"
        "    flags: [--init]\n"
        "    script: exit 3\n"
        "    exit: 3\n"
        "    stdout: sorted\n",
    )
    run, state = case.steps

    assert (case.name, case.area, case.line, case.core) == (
        "it works", "Somewhere", 3, True,
    )  # fmt: skip
    assert (run.verb, run.words, run.flags) == (
        "run",
        ("sh", "-c", "exit 3"),
        ("--init",),
    )
    assert (run.exit, run.stdout, run.stderr) == (3, Match.SORTED, Match.SAME)
    assert state.verb == "state"


def test_a_case_in_a_shared_container_is_an_exec(tmp_path: Path) -> None:
    (case,) = read(
        tmp_path,
        "containers:\n"
        "  big: {flags: [--memory, 1g]}\n"
        "cases:\n"
        "  - {name: a, in: big, command: [free], flags: [-t]}\n",
    )

    assert case.shared is not None and case.shared.flags == ("--memory", "1g")
    assert [(s.verb, s.words, s.flags) for s in case.steps] == [
        ("exec", ("free",), ("-t",))
    ]
    assert case.images == {"busybox"}


def test_steps_carry_their_expectations(tmp_path: Path) -> None:
    (case,) = read(
        tmp_path,
        "cases:\n"
        "  - name: a\n"
        "    steps:\n"
        "      - run: {flags: [-d], image: debian}\n"
        "      - exec: {script: 'true'}\n"
        "        times: 5\n"
        "        exit: any\n"
        "      - inspect: [State.Status]\n"
        "        until: true\n"
        "        prints: exited\n"
        "      - host: ls\n"
        "        exit: nonzero\n",
    )
    run, inner, inspect, host = case.steps

    assert run.words == schema.IDLE and case.images == {"debian"}
    assert (inner.times, inner.exit) == (5, Exit.ANY)
    assert (inspect.words, inspect.until) == (("State.Status",), True)
    assert (host.words, host.exit) == (("ls",), Exit.NONZERO)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("cases:\n  - name: a\n", 3, "script or command"),
        ("cases:\n  - script: x\n", 3, "name must be a text"),
        ("cases:\n  - name: a\n    script: x\n    colour: red\n", 5, "colour is no key"),
        ("cases:\n  - name: a\n    script: x\n    exit: soon\n", 5, "exit must be"),
        ("cases:\n  - name: a\n    script: x\n    stdout: most\n", 5, "stdout must be"),
        ("cases:\n  - name: a\n    script: x\n    prints: '('\n", 5, "no regular"),
        ("cases:\n  - name: a\n    command: [1]\n", 4, "list of texts"),
        ("cases:\n  - name: a\n    image: nope\n    script: x\n", 4, "image must be"),
        ("cases:\n  - name: a\n    in: nowhere\n    script: x\n", 4, "no container"),
        ("cases:\n  - name: a\n    engines: [podman]\n    script: x\n", 4, "no engine"),
        ("cases:\n  - name: a\n    steps:\n      - dance: []\n", 5, "one verb"),
        ("cases:\n  - name: a\n    steps:\n      - exec: {}\n", 5, "exec needs"),
        ("cases:\n  - name: a\n    steps:\n      - rm: []\n        times: 1\n", 6, "above 1"),
        ("cases:\n  - name: a\n    steps:\n      - rm: []\n        until: true\n", 6, "needs prints"),
        ("cases:\n  - name: a\n    script: x\n    script: y\n", 5, "twice"),
        ("cases: []\n", 2, "no cases"),
        ("cases:\n  - [\n", 4, "not YAML"),
        (
            "cases:\n  - name: a\n    script: x\n    difference:\n"
            "      reason: r\n      link: elsewhere\n",
            7,
            "link must begin",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_file_and_line(
    tmp_path: Path, text: str, line: int, says: str
) -> None:
    with pytest.raises(BoxliteError) as caught:
        read(tmp_path, text)

    where = f"{tmp_path}/some.yaml:"
    assert caught.value.message.startswith(where)
    number, _, message = caught.value.message.removeprefix(where).partition(": ")
    assert says in message
    # A key that is missing is told where its table begins.
    assert int(number) <= line


def test_two_cases_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(
            HEAD + "cases:\n  - {name: it, script: x}\n"
        )

    with pytest.raises(
        BoxliteError, match=r"b\.yaml:3: the name stands at .*a\.yaml:3"
    ):
        schema.load(tmp_path)


def test_the_cases_of_the_package_can_be_read() -> None:
    cases = schema.load()

    assert len({case.area for case in cases}) == len({case.path for case in cases})


def test_declared_differences_lead_to_a_heading_of_the_limits() -> None:
    root = Path(__file__).resolve().parents[2]
    limits = (root / "docs/explanation/limits.md").read_text().splitlines()
    headings = {
        "".join(c for c in line.lstrip("# ").lower() if c.isalnum() or c in " -")
        .strip()
        .replace(" ", "-")
        for line in limits
        if line.startswith("#")
    }

    for case in schema.load():
        if case.difference is not None:
            anchor = case.difference.link.removeprefix(schema.LIMITS)
            assert anchor in headings, f"{case.name}: no heading for #{anchor}"


def test_the_core_needs_no_image_made_from_packages() -> None:
    core = [case for case in schema.load() if case.core]

    assert len(core) >= 100
    assert not {i for case in core for i in case.images if RECIPES[i].packages}
