# SPDX-License-Identifier: Apache-2.0
"""What is said of many values: median, 95th percentile, ends, ratio.

Owns: the arithmetic. Does not own: units; all values of a call have the same.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Summary:
    """Values in five numbers, in the values' own unit."""

    count: int
    median: float
    p95: float
    least: float
    most: float


def summary(values: Sequence[float]) -> Summary:
    """Return the summary of one value or more."""
    return Summary(
        count=len(values),
        median=statistics.median(values),
        p95=percentile(values, 0.95),
        least=min(values),
        most=max(values),
    )


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` (0 to 1) of all lie.

    Between two ranks it is interpolated, so that few values are not made to
    look worse than their worst.
    """
    ordered = sorted(values)
    rank = share * (len(ordered) - 1)
    below, above = math.floor(rank), math.ceil(rank)
    return ordered[below] + (ordered[above] - ordered[below]) * (rank - below)


def ratio(values: Sequence[float], reference: Sequence[float]) -> float | None:
    """Return median over median, ``None`` where there is nothing to divide by."""
    if not values or not reference:
        return None
    base = statistics.median(reference)
    return statistics.median(values) / base if base else None
