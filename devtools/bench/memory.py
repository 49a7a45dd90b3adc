"""The worker's memory with very many messages waiting: bounded by its cache, not by their number.

The messages wait for a `send_at` that lies hours ahead. As many as the cache holds come first, so
that the second figure shows what the rest adds.
"""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from devtools.bench.harness.figures import Bound, Rounds, Sample
from devtools.bench.harness.house import OURS, House, furnish, open_stack
from devtools.bench.harness.meter import resident_megabytes
from devtools.bench.harness.report import Report
from devtools.bench.harness.sizes import Sizes
from signedfor.contract import Stage
from signedfor.search_attributes import MESSAGE_STATUS
from signedfor.settings import Settings

_FULL_CACHE, _MANY = "full cache", "many waiting"
_MEMORY = "worker's memory (MB)"
_AT_ONCE = 50
_AHEAD = timedelta(hours=6)
_PATIENCE_SECONDS = 900
_LOOK_EVERY_SECONDS = 0.5


async def run(sizes: Sizes) -> Report:
    """Measure it."""
    cached: int = Settings.model_fields["max_cached_workflows"].default
    first = min(cached, sizes.waiting // 2)
    with open_stack() as (stack, group):
        house = await furnish(stack, group)
        side = house.side(OURS)
        with house.running(side):
            pid = side.workers[0].pid
            empty = resident_megabytes(pid)
            full = await _with_waiting(house, pid, have=0, want=first)
            many = await _with_waiting(house, pid, have=first, want=sizes.waiting)
    return Report(
        benchmark="memory",
        question=f"the worker's memory with {sizes.waiting} messages waiting",
        rounds=Rounds({"empty": [{_MEMORY: empty}], _FULL_CACHE: [full], _MANY: [many]}),
        floor=_FULL_CACHE,
        bounds=[Bound(side=_MANY, figure=_MEMORY, at_most=1.3, against=_FULL_CACHE)],
        conditions={"MAX_CACHED_WORKFLOWS": cached, "waiting with a full cache": first},
    )


async def _with_waiting(house: House, pid: int, *, have: int, want: int) -> Sample:
    """Have so many wait, and look at the memory then."""
    begun = time.perf_counter()
    left = iter(range(have, want))
    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(_hand_in_all(house, left))
    await _all_wait(house, want)
    seconds = time.perf_counter() - begun
    return {_MEMORY: resident_megabytes(pid), "to wait (messages/s)": (want - have) / seconds}


async def _hand_in_all(house: House, left: Iterator[int]) -> None:
    for _ in left:
        send_at = datetime.now(UTC) + _AHEAD
        await house.hand_in(house.side(OURS), send_at=send_at.isoformat())


async def _all_wait(house: House, count: int) -> None:
    """Return when each has had its first workflow task, which says that it is scheduled."""
    query = f"{MESSAGE_STATUS.name} = '{Stage.SCHEDULED.value}'"
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while (await house.client.count_workflows(query)).count < count:  # noqa: ASYNC110 - remote
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
