# SPDX-License-Identifier: Apache-2.0
"""What the tree records is what Kconfig says of the kernel source on this host.

A distribution's source moves from one point release to the next. A record is
compared as a whole on its own release; on another one what nobody asks for may
differ, and ``boxlite kernel config --check`` shows it.
"""

import os
from pathlib import Path

import pytest

from boxlite_runtime.guest import catalogue, fragments, kernel, record
from boxlite_runtime.guest.catalogue import Catalogue, Selection
from boxlite_runtime.paths import host_layout

ROOT = Path(__file__).resolve().parents[2] / "guest-kernel-config"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the host's build cache, where the sources are unpacked already."""
    kept = host_layout().build_cache
    return kept if os.access(kept, os.W_OK) else tmp_path_factory.mktemp("cache")


def need_source(declared: Catalogue, selection: Selection) -> None:
    """Skip where the distribution's package of a source is not installed."""
    source = declared.versions[selection.version]
    if source.archive is not None and not source.archive.exists():
        pytest.skip(f"{source.package} is not installed")


@pytest.mark.parametrize(
    "selection", catalogue.load(ROOT).selections(), ids=lambda selection: selection.name
)
def test_the_fragments_still_resolve_to_what_is_recorded(
    selection: Selection, cache: Path
) -> None:
    declared = catalogue.load(ROOT)
    need_source(declared, selection)
    requests = fragments.merge(declared.fragment_paths(selection))

    resolved = kernel.configuration(declared, selection, cache)

    now = record.portable(resolved.release, resolved.config)
    recorded = record.read(declared.resolved_path(selection))
    assert record.compare(recorded, now, requests).failures == ()
