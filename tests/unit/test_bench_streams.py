# SPDX-License-Identifier: Apache-2.0
"""What is carried through standard streams is counted, and missing bytes fail."""

import subprocess
from pathlib import Path

from boxlite_runtime.bench import streams
from boxlite_runtime.bench.words import CtrWords, DockerWords


def ended(argv: list[str]) -> int:
    """Run a command and return its exit code."""
    return subprocess.run(argv, check=False, stdin=subprocess.DEVNULL).returncode


def test_all_that_comes_out_is_counted() -> None:
    assert ended(streams.out(streams.WRITES)) == 0
    assert ended(streams.out(["head", "-c", "1000", "/dev/zero"])) != 0


def test_a_command_is_fed_as_much_as_comes_out_of_one(tmp_path: Path) -> None:
    count = tmp_path / "count"
    assert ended(streams.into(["sh", "-c", f"wc -c >{count}"])) == 0
    assert int(count.read_text()) == streams.MIB << 20
    assert ended(streams.into(["false"])) != 0


def test_engines_are_told_to_pass_stdin_on(tmp_path: Path) -> None:
    docker = DockerWords(None, "run", tmp_path).fed("name", ["cat"])
    assert docker[-4:] == ["exec", "--interactive", "name", "cat"]
    assert CtrWords(None, "run").fed("name", ["cat"])[-2:] == ["name", "cat"]
