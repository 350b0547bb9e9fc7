# SPDX-License-Identifier: Apache-2.0
"""What may happen to a daemon.json, and what may not."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxlite_runtime.errors import BoxliteError
from boxlite_runtime.installer import docker_config

ENTRY = docker_config.runtime_entry(
    "io.containerd.boxlite.v1", "/etc/boxlite/config.toml"
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
DOCUMENTS = st.dictionaries(st.text(), JSON).filter(lambda d: "runtimes" not in d)


@pytest.mark.parametrize("text", [None, "", "  \n", "{}", "\ufeff{}"])
def test_a_missing_or_empty_file_becomes_one_with_the_runtime(text: str | None) -> None:
    written = json.loads(docker_config.with_runtime(text, ENTRY))

    assert written == {"runtimes": {"boxlite": ENTRY}}


def test_other_runtimes_and_settings_are_kept_in_order() -> None:
    text = '{"debug": true, "runtimes": {"gvisor": {"path": "/x"}}, "mtu": 1400}'

    written = json.loads(docker_config.with_runtime(text, ENTRY))

    assert list(written) == ["debug", "runtimes", "mtu"]
    assert written["runtimes"] == {"gvisor": {"path": "/x"}, "boxlite": ENTRY}


def test_a_file_that_has_the_entry_is_not_reformatted() -> None:
    text = json.dumps({"runtimes": {"boxlite": ENTRY}})

    assert docker_config.with_runtime(text, ENTRY) == text


def test_an_older_entry_is_replaced() -> None:
    text = '{"runtimes": {"boxlite": {"path": "/old"}}}'

    written = json.loads(docker_config.with_runtime(text, ENTRY))

    assert written["runtimes"]["boxlite"] == ENTRY


@pytest.mark.parametrize("text", ["{", "[]", '"x"', '{"runtimes": []}', "{'a': 1}"])
def test_what_dockerd_would_refuse_is_an_error_with_a_hint(text: str) -> None:
    with pytest.raises(BoxliteError, match=r"daemon\.json") as caught:
        docker_config.with_runtime(text, ENTRY)

    assert caught.value.hint is not None
    assert "nothing was changed" in caught.value.hint


@given(DOCUMENTS)
def test_removing_what_was_added_gives_the_same_document(
    document: dict[str, Any],
) -> None:
    added = docker_config.with_runtime(json.dumps(document), ENTRY)

    assert docker_config.has_runtime(added)
    assert json.loads(docker_config.without_runtime(added)) == document


def test_a_default_that_no_longer_exists_is_removed_too() -> None:
    text = json.dumps({"default-runtime": "boxlite", "runtimes": {"boxlite": ENTRY}})

    assert json.loads(docker_config.without_runtime(text)) == {}


def test_a_file_that_names_no_runtime_is_known_as_one() -> None:
    added = docker_config.with_runtime('{"debug": true}', ENTRY)

    assert docker_config.names_runtimes(added)
    assert not docker_config.names_runtimes(docker_config.without_runtime(added))
    assert not docker_config.names_runtimes(None)


def test_the_published_sample_is_what_is_written(source: Path) -> None:
    sample = json.loads((source / "install/docker/daemon.json").read_text())

    assert sample == {"runtimes": {"boxlite": ENTRY}}
