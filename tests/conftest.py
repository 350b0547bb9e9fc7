# SPDX-License-Identifier: Apache-2.0
"""Options and markers of the tests that need a host: system and perf.

Unit and lint tests use nothing from here.
"""

import signal
from types import FrameType

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Name the engines and runtimes that system tests use."""
    group = parser.getgroup("boxlite")
    group.addoption(
        "--engine",
        action="append",
        metavar="PAIR",
        help="engine pair to test with: installed (default), forky or gomod, "
        "which tests.engines.fetch gets; +overlay2, +vfs or +containerd after it "
        "is where its images are kept; may be repeated",
    )
    group.addoption(
        "--boxlite-runtime",
        default="boxlite",
        metavar="NAME",
        help="runtime to compare with the reference; runc checks the tests "
        "themselves (default: boxlite)",
    )
    group.addoption(
        "--reference-runtime",
        default="runc",
        metavar="NAME",
        help="runtime whose behaviour is right (default: runc)",
    )
    group.addoption(
        "--boxlite-config",
        default="/etc/boxlite/config.toml",
        metavar="FILE",
        help="configuration the shim is run with",
    )
    group.addoption(
        "--perf-output",
        default="perf.json",
        metavar="FILE",
        help="where tests/perf writes its measurements",
    )
    group.addoption(
        "--perf-rounds",
        type=int,
        default=10,
        metavar="N",
        help="paired runs per measurement",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare markers."""
    config.addinivalue_line("markers", "perf: measures; judges no bare seconds")
    config.addinivalue_line("markers", "core: runs on every engine pair")
    config.addinivalue_line("markers", "kvm: runs on an emulated host with KVM as well")
    config.addinivalue_line(
        "markers", "storage: runs on every kind of store for images as well"
    )
    config.addinivalue_line(
        "markers", "boxlite_only: states what runc cannot (a machine, refusals)"
    )


def pytest_sessionstart(session: pytest.Session) -> None:
    """Clean up on SIGTERM as on Ctrl-C."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        # A test may take the exception for one of its own; it is the last then.
        session.shouldstop = "ended by SIGTERM"
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
