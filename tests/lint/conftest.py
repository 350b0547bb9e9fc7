# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the checks that read the tree."""

from collections.abc import Callable
from pathlib import Path

import pytest

from boxlite_runtime.process import run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the root of the source tree."""
    return ROOT


@pytest.fixture(scope="session")
def tree() -> list[Path]:
    """Return every file that is or would be committed."""
    listed = run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
    ).stdout
    paths = [ROOT / name for name in listed.split("\0") if name]
    # A file deleted and not yet committed is still listed.
    return [path for path in paths if path.is_file()]


@pytest.fixture(scope="session")
def sources(tree: list[Path]) -> list[Path]:
    """Return the files of code, those without a suffix by their first line."""
    return [path for path in tree if path.suffix in {".py", ".rs", ".sh", ".proto"}] + [
        path for path in tree if not path.suffix and _is_script(path)
    ]


@pytest.fixture
def report(root: Path) -> Callable[[list[tuple[Path, str]]], None]:
    """Return a function that fails with one line for each offence."""

    def fail(offences: list[tuple[Path, str]]) -> None:
        lines = [f"{path.relative_to(root)}: {what}" for path, what in offences]
        if lines:
            pytest.fail("\n".join(lines), pytrace=False)

    return fail


def _is_script(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"#!"
