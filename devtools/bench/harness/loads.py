"""How messages are handed in: so many in flight, one at a time, or at a rate."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from temporalio.client import WorkflowHandle

from devtools.bench.harness.house import House, Side

_PATIENCE_SECONDS = 300


class NotDelivered(Exception):
    """A message of a benchmark had another outcome; the figures would be of something else."""


async def settled(handle: WorkflowHandle[Any, Any]) -> None:
    """Return when the message is delivered.

    Raises:
        NotDelivered: it ended otherwise.
    """
    async with asyncio.timeout(_PATIENCE_SECONDS):
        report = await handle.result()
    if report["outcome"] != "delivered":
        raise NotDelivered(f"{handle.id} ended as {report['outcome']}.")


async def in_flight(house: House, side: Side, *, messages: int, at_once: int) -> float:
    """Carry `messages` through their whole life, `at_once` under way; the seconds it took."""
    left = iter(range(messages))

    async def carry() -> None:
        for _ in left:
            await settled(await house.hand_in(side))

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(min(at_once, messages)):
            group.create_task(carry())
    return time.perf_counter() - begun


async def at_rate(count: int, rate: float, do: Callable[[int, float], Awaitable[None]]) -> float:
    """Call `do` with each number and the moment it was due, whether or not the others are done.

    The moments are of `time.perf_counter`. Returns the seconds until all were done.
    """
    begun = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            due = begun + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(_awaited(do(number, due)))
    return time.perf_counter() - begun


async def _awaited(each: Awaitable[None]) -> None:
    await each
