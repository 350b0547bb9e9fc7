# SPDX-License-Identifier: Apache-2.0
"""The rules of the tree that no linter knows."""

import ast
import re
from collections.abc import Callable
from pathlib import Path

Report = Callable[[list[tuple[Path, str]]], None]

#: Everything else belongs into one of these.
TOP_LEVEL = {
    "shim-rs",
    "pyproject.toml",
    "boxlite_runtime",
    "guest-kernel-config",
    "install",
    "tests",
    "docs",
    "README.md",
    "LICENSE",
}
#: Lines. A file that needs more holds two things.
LONGEST_FILE = 320
#: Lines of a Python function: about a screen.
LONGEST_FUNCTION = 60
#: Names that say nothing about what is inside.
EMPTY_NAMES = {"util", "utils", "common", "helper", "helpers", "manager", "misc"}
#: Names that a library we extend has chosen.
GIVEN_NAMES = {"get_command"}
#: Put together here, so that this file does not find itself.
UNFINISHED = re.compile(
    r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b|\b(to" + r"do|unimplemented)!"
)
LICENSE_LINE = "SPDX-License-Identifier: Apache-2.0"


def test_the_top_level_holds_only_the_rooms(root: Path, tree: list[Path]) -> None:
    names = {path.relative_to(root).parts[0] for path in tree}

    assert {name for name in names if not name.startswith(".")} <= TOP_LEVEL


def test_every_source_file_names_its_licence_first(
    sources: list[Path], report: Report
) -> None:
    report(
        [
            (path, "no SPDX line at its top")
            for path in sources
            if not any(LICENSE_LINE in line for line in lines(path)[:2])
        ]
    )


def test_no_source_file_is_long(sources: list[Path], report: Report) -> None:
    report(
        [
            (path, f"{len(lines(path))} lines, {LONGEST_FILE} is the most")
            for path in sources
            if len(lines(path)) > LONGEST_FILE
        ]
    )


def test_no_python_function_is_long(sources: list[Path], report: Report) -> None:
    report(
        [
            (path, f"{node.name} has {length(node)} lines")
            for path in sources
            if path.suffix == ".py"
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and length(node) > LONGEST_FUNCTION
        ]
    )


def test_every_module_says_what_it_is_for(sources: list[Path], report: Report) -> None:
    report([(path, "opens with no description") for path in sources if silent(path)])


def test_names_say_something(root: Path, sources: list[Path], report: Report) -> None:
    report(
        [
            (path, "is named after nothing")
            for path in sources
            if EMPTY_NAMES & {Path(part).stem for part in path.relative_to(root).parts}
        ]
    )


def test_functions_are_not_named_get_and_types_not_manager(
    sources: list[Path], report: Report
) -> None:
    name = re.compile(r"\b(?:fn|def) (get_\w+)|\b(?:class|struct|trait) (\w*Manager)\b")
    report(
        [
            (path, f"has a name that says little: {found}")
            for path in sources
            for match in name.finditer(path.read_text())
            if (found := match[1] or match[2]) not in GIVEN_NAMES
        ]
    )


def test_nothing_is_left_unfinished(sources: list[Path], report: Report) -> None:
    report(
        [
            (path, f"line {number}: {line.strip()}")
            for path in sources
            for number, line in enumerate(lines(path), 1)
            if UNFINISHED.search(line)
        ]
    )


def test_other_programs_are_run_through_one_door(root: Path, report: Report) -> None:
    package = root / "boxlite_runtime"
    door = package / "process.py"
    imports = re.compile(r"^\s*(?:import subprocess|from subprocess)", re.MULTILINE)
    report(
        [
            (path, "imports subprocess; use boxlite_runtime.process")
            for path in package.rglob("*.py")
            if path != door and imports.search(path.read_text())
        ]
    )


def test_links_between_documents_lead_somewhere(
    tree: list[Path], report: Report
) -> None:
    link = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")
    report(
        [
            (path, f"leads nowhere: {match[1]}")
            for path in tree
            if path.suffix == ".md"
            for match in link.finditer(path.read_text())
            if not (path.parent / match[1]).exists()
        ]
    )


def lines(path: Path) -> list[str]:
    """Return the lines of a file."""
    return path.read_text().splitlines()


def silent(path: Path) -> bool:
    """Tell whether a module has no opening words."""
    if path.suffix == ".py":
        return not ast.get_docstring(ast.parse(path.read_text()))
    # The tests of a Rust module are introduced by that module.
    if path.suffix != ".rs" or path.name == "tests.rs":
        return False
    return not "".join(lines(path)[1:2]).startswith("//!")


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return how many lines a function has."""
    return (node.end_lineno or node.lineno) - node.lineno + 1
