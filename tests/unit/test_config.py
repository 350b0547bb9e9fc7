# SPDX-License-Identifier: Apache-2.0
"""Which configurations are told to be wrong before the shim refuses them."""

import tomllib
from pathlib import Path

import pytest

from boxlite_runtime import config


def test_the_installed_sample_is_valid_and_complete(source: Path) -> None:
    text = (source / "install" / "config.toml").read_text()

    assert config.problems(text) == []
    assert {table: set(keys) for table, keys in tomllib.loads(text).items()} == {
        table: set(keys) for table, keys in config.KEYS.items()
    }


@pytest.mark.parametrize("text", ["", '[machine]\nvcpus = "host"\nmemory_mib = 4096\n'])
def test_what_is_right_is_not_complained_of(text: str) -> None:
    assert config.problems(text) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[machine]\nmemory = 1\n", "memory is not a key of [machine]"),
        ("[machin]\n", "[machin] is not a table of the configuration"),
        ("machine = 1\n", "machine must be a table"),
        (
            '[machine]\naccel = "hvf"\n',
            "machine.accel must be one of: auto, kvm, tcg",
        ),
        ("[machine]\nvcpus = 0\n", "machine.vcpus must be at least 1"),
        (
            "[machine]\nvcpus = true\n",
            "machine.vcpus must be one of: a number, host",
        ),
        (
            '[machine]\nmemory_mib = "all"\n',
            "machine.memory_mib must be one of: a number, host",
        ),
        ("[machine]\nnics = true\n", "machine.nics must be a number"),
        ("[paths]\nqemu = 1\n", "paths.qemu must be a text"),
        ("[sockets]\nengine = 1\n", "sockets.engine must be true or false"),
    ],
)
def test_a_wrong_value_is_named_with_what_it_must_be(text: str, problem: str) -> None:
    assert config.problems(text) == [problem]


def test_what_is_not_toml_is_said_so() -> None:
    assert "it is not TOML" in config.problems("[")[0]


def test_every_problem_is_told_not_only_the_first() -> None:
    assert len(config.problems("[a]\n[b]\n[log]\nlevel = 3\n")) == 3
