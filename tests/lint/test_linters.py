# SPDX-License-Identifier: Apache-2.0
"""The linters, each as a test, so that one command checks everything."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from boxlite_runtime.process import run

#: Seconds: clippy may have to compile the workspace first.
COMPILING = 1800


def need(program: str) -> None:
    """Skip without the program; in CI, where it must be there, fail."""
    if shutil.which(program) is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{program} is not installed", pytrace=False)
        pytest.skip(f"{program} is not installed")


def check(argv: list[str], root: Path) -> None:
    """Run a linter and fail with what it found."""
    done = run(argv, cwd=root, check=False)
    if done.returncode:
        pytest.fail(f"{done.stdout}\n{done.stderr}".strip(), pytrace=False)


def shell_scripts(sources: list[Path]) -> list[str]:
    """Return the scripts for bash and sh, also those without a suffix."""
    return [
        str(path)
        for path in sources
        if path.suffix == ".sh"
        or (not path.suffix and b"sh" in path.read_bytes().partition(b"\n")[0])
    ]


@pytest.mark.parametrize("manifest", ["shim-rs/Cargo.toml", "shim-rs/fuzz/Cargo.toml"])
def test_rust_is_formatted(root: Path, manifest: str) -> None:
    need("cargo")
    check(
        [
            "cargo", "fmt", "--all", "--check", "--manifest-path", manifest,
            "--", "--color", "never",
        ],
        root,
    )  # fmt: skip


@pytest.mark.timeout(COMPILING)
def test_clippy_has_no_warning(root: Path) -> None:
    need("cargo")
    check(
        [
            "cargo", "clippy", "--quiet", "--locked", "--workspace", "--all-targets",
            "--manifest-path", "shim-rs/Cargo.toml", "--", "--deny", "warnings",
        ],
        root,
    )  # fmt: skip


def test_python_is_formatted(root: Path) -> None:
    need("ruff")
    check(["ruff", "format", "--check", "--diff", "."], root)


def test_ruff_has_no_finding(root: Path) -> None:
    need("ruff")
    check(["ruff", "check", "--output-format", "concise", "."], root)


def test_types_are_sound(root: Path) -> None:
    check([sys.executable, "-m", "mypy"], root)


def test_shell_scripts_are_sound(root: Path, sources: list[Path]) -> None:
    need("shellcheck")
    scripts = shell_scripts(sources)
    assert scripts
    check(["shellcheck", "--external-sources", *scripts], root)
