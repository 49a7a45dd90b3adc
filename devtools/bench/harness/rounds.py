"""Alternating rounds: the sides have their turns in every house, there and back."""

import itertools
import sys
from collections.abc import Awaitable, Callable, Sequence

from devtools.bench.harness.figures import Rounds, Sample, mean
from devtools.bench.harness.house import House, furnish, open_stack

Measure = Callable[[House, str], Awaitable[Sample]]
"""One round of one side, by its name."""


async def alternate(
    sides: Sequence[str], measure: Measure, *, rounds: int, legs: int = 2, workers: int = 1
) -> Rounds:
    """Measure the sides in each of `rounds` fresh houses, there and back: A, B, B, A.

    The server slows down as its database grows; so no side has the emptier one. With one leg there
    is no way back, and the second side has the worse of it.
    """
    samples: dict[str, list[Sample]] = {side: [] for side in sides}
    orders = list(itertools.permutations(sides))
    for number in range(rounds):
        order = orders[number % len(orders)]
        found: dict[str, list[Sample]] = {side: [] for side in sides}
        with open_stack(workers=workers) as (stack, group):
            house = await furnish(stack, group)
            for side in (*order, *reversed(order))[: legs * len(order)]:
                found[side].append(await measure(house, side))
                tell(f"round {number + 1} of {rounds}, {side}", found[side][-1])
        for side, legs_of_it in found.items():
            samples[side].append(mean(legs_of_it))
    return Rounds(samples)


def tell(what: str, sample: Sample) -> None:
    """Say it to whoever waits for the end."""
    figures = ", ".join(f"{name} {value:.4g}" for name, value in sample.items())
    sys.stderr.write(f"{what}: {figures}\n")
    sys.stderr.flush()
