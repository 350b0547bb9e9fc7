# SPDX-License-Identifier: Apache-2.0
"""What cannot be had is refused in words that help, and leaves nothing."""

from collections.abc import Iterator

import pytest

from tests.engines import leftovers, settings
from tests.engines.command import Result
from tests.engines.docker import Docker
from tests.engines.images import IMAGE
from tests.engines.pair import Pair

pytestmark = pytest.mark.boxlite_only

#: The engine's exit code when a container could not be started.
NOT_STARTED = 125


def refused(docker: Docker, *options: str) -> Result:
    """Run a container that must not start; none of it may be left."""
    result = docker.run("--rm", *options, IMAGE, "true")
    assert result.code == NOT_STARTED, result
    assert result.stdout == b""
    return result


@pytest.fixture
def other(docker: Docker) -> Iterator[str]:
    """A running container whose namespaces somebody asks for."""
    with docker.container("--ipc", "shareable") as container:
        yield container


@pytest.mark.parametrize(
    "option",
    [
        pytest.param("--network=host", marks=pytest.mark.core),
        "--pid=host",
        "--ipc=host",
        "--uts=host",
    ],
)
def test_a_namespace_of_the_host_is_refused(docker: Docker, option: str) -> None:
    said = refused(docker, option).errors
    kind, _, _ = option.removeprefix("--").partition("=")
    assert f"--{kind} host" in said and "not supported by boxlite" in said
    assert "runc" in said, "no word of what to do instead"


def test_a_namespace_of_another_container_is_refused(
    docker: Docker, other: str
) -> None:
    for kind in ("network", "pid", "ipc"):
        said = refused(docker, f"--{kind}=container:{other}").errors
        assert f"--{kind} container:X" in said, said
        assert "not supported by boxlite" in said
    assert docker.state(other)["Running"]


def test_a_machine_larger_than_the_host_is_refused(docker: Docker) -> None:
    said = refused(docker, "--annotation=io.boxlite.memory_mib=9000000").errors
    assert "memory" in said and "the host has" in said and "ask for less" in said


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        ("io.boxlite.memory_mib=plenty", "positive number"),
        ("io.boxlite.vcpus=-1", "positive number"),
        ("io.boxlite.template=perhaps", "none of"),
    ],
)
def test_an_annotation_of_the_wrong_type_is_refused_with_the_right_one(
    docker: Docker, annotation: str, words: str
) -> None:
    said = refused(docker, f"--annotation={annotation}").errors
    key, _, value = annotation.partition("=")
    assert key in said and value in said and words in said


def test_an_annotation_sizes_the_machine(docker: Docker) -> None:
    cpus, memory = docker.sh(
        "nproc; cat /sys/module/grow/parameters/limit",
        "--annotation=io.boxlite.vcpus=1",
        "--annotation=io.boxlite.memory_mib=1000",
    ).ok().lines  # fmt: skip
    assert (cpus, int(memory)) == ("1", 1000 << 20)


@pytest.mark.parametrize("missing", settings.MISSING)
def test_a_missing_file_is_named_with_its_key(docker: Docker, missing: str) -> None:
    said = refused(docker.using(f"boxlite-no-{missing}")).errors
    assert f"/nonexistent/{missing}" in said and missing in said
    assert "boxlite doctor" in said


def test_a_machine_that_ends_while_it_starts_says_how(docker: Docker) -> None:
    said = refused(docker.using(settings.NO_AGENT)).errors
    assert "it ended before the guest was up" in said, said
    assert said.count("console ends with") == 1 and "Kernel panic" in said, said


def test_an_unknown_key_is_named_with_its_line(docker: Docker) -> None:
    said = refused(docker.using("boxlite-unknown-key")).errors
    assert "boxlite-unknown-key.toml" in said
    assert "line 3" in said and "colour" in said


def test_a_value_of_the_wrong_type_is_named_with_its_line(docker: Docker) -> None:
    said = refused(docker.using("boxlite-ill-typed")).errors
    assert "boxlite-ill-typed.toml" in said and "line 2" in said


@pytest.mark.kvm
def test_nothing_is_left_of_what_was_refused(docker: Docker, pair: Pair) -> None:
    refused(docker, "--network=host")
    refused(docker.using("boxlite-no-kernel"))
    leftovers.none_left(pair)
    assert docker("ps", "--all", "--quiet").ok().stdout == b""
