# SPDX-License-Identifier: Apache-2.0
"""Who is measured when.

Owns: the order. In each round every runtime does the same once, right after
the other, so that a host that is busy for a while is busy for all of them; and
each is first as often as the others. Does not own: what is done.
"""

from collections.abc import Callable, Sequence


def turns(names: Sequence[str], number: int) -> list[str]:
    """Return the order of a round, counted from 0: the next one is first."""
    first = number % len(names)
    return [*names[first:], *names[:first]]


def alternate(
    names: Sequence[str],
    rounds: int,
    measure: Callable[[str], float],
    told: Callable[[str], None],
) -> dict[str, list[float]]:
    """Measure in turns and return the values of each name, in order.

    ``told`` hears where the rounds are. What ``measure`` raises passes through.
    """
    values: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        for name in turns(names, number):
            told(f"round {number + 1} of {rounds}, {name}")
            values[name].append(measure(name))
    return values
