# SPDX-License-Identifier: Apache-2.0
"""Whether the documentation says what the code says.

Owns: the comparison of pages with commands, keys, annotations, exit codes and
paths. Does not own: links to files that are not there (``test_rules``).
"""

import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from boxlite_runtime.cli import boxlite
from boxlite_runtime.errors import ExitCode

Report = Callable[[list[tuple[Path, str]]], None]

REFERENCE = Path("docs/reference")
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")
#: A path of the tree in code font, with the name of a test behind it or not.
PLACE = re.compile(
    r"`((?:shim-rs|boxlite_runtime|tests|install|guest-kernel-config)/[\w./-]*\w/?)"
    r"(?:::(\w+))?`"
)
#: The first cell of a row of a table, in code font.
FIRST_CELL = re.compile(r"^\| `([^`]+)`", re.MULTILINE)
#: Parts of the tree that only a build makes.
BUILT = {"shim-rs/target"}


@pytest.fixture
def pages(root: Path) -> list[Path]:
    """Return every page of the documentation."""
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def test_every_page_can_be_reached_from_the_index(
    root: Path, pages: list[Path]
) -> None:
    index = root / "docs" / "README.md"
    seen = {root / "README.md", index}
    waiting = [index]
    while waiting:
        page = waiting.pop()
        linked = {(page.parent / target).resolve() for target, _ in links(page)}
        new = {
            path for path in linked if path.suffix == ".md" and path.is_file()
        } - seen
        seen |= new
        waiting += new

    assert set(pages) <= seen


def test_links_to_headings_lead_to_one(pages: list[Path], report: Report) -> None:
    report(
        [
            (page, f"no heading for #{anchor} in {target or 'it'}")
            for page in pages
            for target, anchor in links(page)
            if anchor
            and anchor not in anchors(page.parent / target if target else page)
        ]
    )


def test_places_in_the_tree_are_there(
    root: Path, pages: list[Path], report: Report
) -> None:
    report(
        [
            (page, f"names what is not there: {match[0]}")
            for page in pages
            for match in PLACE.finditer(page.read_text())
            if match[1] not in BUILT and not is_there(root / match[1], match[2])
        ]
    )


def test_every_command_is_documented_with_its_options(root: Path) -> None:
    text = (root / REFERENCE / "cli.md").read_text()
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    documented = {
        title: {cell for cell in FIRST_CELL.findall(body) if cell != "--help"}
        for title, _, body in (section.partition("\n") for section in sections)
        if title.startswith("boxlite")
    }

    assert documented == dict(commands("boxlite", boxlite))


def test_every_key_is_documented_with_its_default(root: Path) -> None:
    text = (root / REFERENCE / "configuration.md").read_text()
    rows = re.findall(r"^\| `(\w+\.\w+)` \| `([^`]+)` \|", text, flags=re.MULTILINE)
    documented = {key: tomllib.loads(f"it = {value}")["it"] for key, value in rows}
    sample = tomllib.loads((root / "install" / "config.toml").read_text())

    assert documented == {
        f"{table}.{key}": value
        for table, values in sample.items()
        for key, value in values.items()
    }


def test_every_annotation_is_documented(root: Path) -> None:
    code = root / "shim-rs/crates/shim/src/plan/annotations.rs"
    understood = re.findall(
        r'^const \w+: &str = "(io\.boxlite\.\w+)";', code.read_text(), re.MULTILINE
    )
    text = (root / REFERENCE / "annotations.md").read_text()

    assert understood
    assert [c for c in FIRST_CELL.findall(text) if c.startswith("io.")] == understood


def test_every_setting_of_the_host_that_guests_are_given_is_documented(
    root: Path,
) -> None:
    code = (root / "shim-rs/crates/shim/src/settings/list.rs").read_text()
    names = re.findall(r'^    "([\w/-]+)",$', code, re.MULTILINE)
    # The same for `all` and for `default` is one row.
    given = {
        re.sub(r"\.conf\.(all|default)\.", ".conf.*.", name.replace("/", "."))
        for name in names
    }
    text = (root / REFERENCE / "settings.md").read_text()

    assert given
    assert set(FIRST_CELL.findall(text)) == given


def test_every_exit_code_is_documented(root: Path) -> None:
    text = (root / REFERENCE / "exit-codes.md").read_text()
    section = text.partition("## The boxlite command")[2].partition("\n## ")[0]
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", section, re.M)}

    assert documented == set(ExitCode)


def links(page: Path) -> list[tuple[str, str]]:
    """Return the relative links of a page as (file, heading)."""
    return LINK.findall(page.read_text())


def anchors(page: Path) -> set[str]:
    """Return the names that links give a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in headings
    }


def is_there(path: Path, name: str) -> bool:
    """Tell whether a path exists and, where a name is given, defines it."""
    if not name:
        return path.exists()
    return path.is_file() and bool(
        re.search(rf"\b(?:fn|def) {name}\b", path.read_text())
    )


def commands(name: str, command: click.Command) -> Iterator[tuple[str, set[str]]]:
    """Yield each command under ``command`` with its options."""
    options = {
        max(parameter.opts, key=len)
        for parameter in command.params
        if isinstance(parameter, click.Option)
    }
    yield name, options
    if isinstance(command, click.Group):
        context = click.Context(command)
        for word in command.list_commands(context):
            child = command.get_command(context, word)
            assert child is not None
            yield from commands(f"{name} {word}", child)
