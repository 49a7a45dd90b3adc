"""Alternating rounds: each side has its turn in every house, in every order as often."""

import itertools
import sys
from collections.abc import Awaitable, Callable, Sequence

from bench.harness.figures import Rounds, Sample
from bench.harness.house import House, furnish, open_stack

Measure = Callable[[House, str], Awaitable[Sample]]
"""One round of one side, by its name."""


async def alternate(
    sides: Sequence[str], measure: Measure, *, rounds: int, workers: int = 1
) -> Rounds:
    """Measure each side once in each of `rounds` fresh houses.

    The server slows down as its database grows, so every order of the sides has its turn.
    """
    samples: dict[str, list[Sample]] = {side: [] for side in sides}
    orders = list(itertools.permutations(sides))
    for number in range(rounds):
        with open_stack(workers=workers) as (stack, group):
            house = await furnish(stack, group)
            for side in orders[number % len(orders)]:
                sample = await measure(house, side)
                samples[side].append(sample)
                tell(f"round {number + 1} of {rounds}, {side}", sample)
    return Rounds(samples, orders=len(orders))


def tell(what: str, sample: Sample) -> None:
    """Say it to whoever waits for the end."""
    figures = ", ".join(f"{name} {value:.4g}" for name, value in sample.items())
    sys.stderr.write(f"{what}: {figures}\n")
    sys.stderr.flush()
