# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the system tests.

``pair`` is a running engine pair (one per --engine, for the whole session),
``both`` types docker commands under runc and then under BoxLite, ``docker``
under BoxLite alone, ``ctrs`` is the same for ctr. After each module nothing
of its containers may be left on the host.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from boxlite_runtime.paths import host_layout
from boxlite_runtime.templates.shim import Shim, Template
from tests.engines import leftovers, programs, settings
from tests.engines.ctr import Ctr
from tests.engines.docker import Docker
from tests.engines.images import NoImage
from tests.engines.pair import Pair, running
from tests.system.both import Both


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every test once per --engine."""
    if "pair" in metafunc.fixturenames:
        names = metafunc.config.getoption("engine") or ["installed"]
        for name in names:
            pair, _, store = name.partition("+")
            if pair not in programs.PAIRS or store not in settings.STORES:
                raise pytest.UsageError(f"--engine {name}: no such engine")
        metafunc.parametrize("pair", names, indirect=True, scope="session")


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Skip what is about machines when another runtime stands in for BoxLite."""
    runtime = config.getoption("boxlite_runtime")
    if runtime != "boxlite":
        skip = pytest.mark.skip(reason=f"{runtime} stands in for boxlite")
        for item in items:
            if item.get_closest_marker("boxlite_only"):
                item.add_marker(skip)


@pytest.fixture(scope="session")
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """A running engine pair with the test image."""
    config = request.config
    if os.geteuid() != 0:
        pytest.skip("container engines need root")
    if config.getoption("boxlite_runtime") == "boxlite":
        shim = host_layout().shim
        if not shim.exists():
            pytest.skip(f"no {shim}; run boxlite install")
    name, _, store = request.param.partition("+")
    try:
        found = programs.find(name)
    except programs.Unavailable as reason:
        pytest.skip(str(reason))
    file = Path(config.getoption("boxlite_config"))
    with running(found, config=file, store=store) as started:
        try:
            if started.dockerd_pid is not None:
                Docker(started, "runc").load_image()
            Ctr(started, "runc").load_image()
            yield started
        except NoImage as reason:
            pytest.skip(str(reason))
        finally:
            remove_everything(started)
            leftovers.sweep(started)


def remove_everything(pair: Pair) -> None:
    """Remove what a failed or interrupted test left in the engines."""
    if pair.dockerd_pid is not None:
        Docker(pair, "runc").remove_everything()
    Ctr(pair, "runc").remove_everything()


@pytest.fixture(scope="session")
def both(pair: Pair, request: pytest.FixtureRequest) -> Both:
    """Docker under the reference runtime and under BoxLite."""
    if pair.dockerd_pid is None:
        pytest.skip(f"{pair.programs.name} has no dockerd")
    return Both(
        Docker(pair, request.config.getoption("reference_runtime")),
        Docker(pair, request.config.getoption("boxlite_runtime")),
    )


@pytest.fixture(scope="session")
def docker(both: Both) -> Docker:
    """Docker under BoxLite."""
    return both.boxlite


@pytest.fixture(scope="session")
def ctrs(pair: Pair, request: pytest.FixtureRequest) -> tuple[Ctr, Ctr]:
    """ctr under the reference runtime and under BoxLite."""
    return (
        Ctr(pair, request.config.getoption("reference_runtime")),
        Ctr(pair, request.config.getoption("boxlite_runtime")),
    )


@pytest.fixture(scope="module")
def shim(pair: Pair) -> Shim:
    """The installed shim with templates of the tests' own."""
    return Shim(host_layout().shim, pair.templates_config)


@pytest.fixture(scope="module")
def built(shim: Shim) -> Template:
    """The template of the configured size."""
    template, _ = shim.build(None)
    return template


@pytest.fixture(scope="module", autouse=True)
def _nothing_left(pair: Pair) -> Iterator[None]:
    """Fail the module whose containers left something on the host."""
    yield
    remove_everything(pair)
    leftovers.none_left(pair)
