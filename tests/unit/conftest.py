# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the unit tests. None of them needs root or a network."""

from pathlib import Path

import pytest


@pytest.fixture
def source() -> Path:
    """Return the root of the source tree under test."""
    return Path(__file__).resolve().parents[2]
