"""The worker's memory with very many messages waiting: bounded by its cache, not by their number.

The messages wait for a `send_at` hours ahead. As many as the cache holds come first, so
that the second figure shows what the rest adds.
"""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from devtools.bench.environment import PRODUCT, Environment, fresh_stack, set_up
from devtools.bench.figures import Bound, Rounds, Sample
from devtools.bench.processes import resident_megabytes
from devtools.bench.report import Report
from devtools.bench.sizes import Sizes
from signedfor.contract import Stage
from signedfor.search_attributes import MESSAGE_STATUS
from signedfor.settings import Settings

_FULL_CACHE, _MANY = "full cache", "many waiting"
_MEMORY = "worker's memory (MB)"
_AT_ONCE = 50
_AHEAD = timedelta(hours=6)
_TIMEOUT_SECONDS = 900
_POLL_SECONDS = 0.5


async def run(sizes: Sizes) -> Report:
    """Measure it."""
    cached: int = Settings.model_fields["max_cached_workflows"].default
    first = min(cached, sizes.waiting // 2)
    with fresh_stack() as (stack, group):
        environment = await set_up(stack, group)
        side = environment.side(PRODUCT)
        with environment.running(side):
            pid = side.workers[0].pid
            empty = resident_megabytes(pid)
            full = await _with_waiting(environment, pid, have=0, want=first)
            many = await _with_waiting(environment, pid, have=first, want=sizes.waiting)
    return Report(
        benchmark="memory",
        question=f"the worker's memory with {sizes.waiting} messages waiting",
        rounds=Rounds({"empty": [{_MEMORY: empty}], _FULL_CACHE: [full], _MANY: [many]}),
        baseline=_FULL_CACHE,
        bounds=[Bound(side=_MANY, figure=_MEMORY, at_most=1.3, against=_FULL_CACHE)],
        conditions={"MAX_CACHED_WORKFLOWS": cached, "waiting with a full cache": first},
    )


async def _with_waiting(environment: Environment, pid: int, *, have: int, want: int) -> Sample:
    """Start messages until so many are waiting, and measure the memory."""
    started = time.perf_counter()
    left = iter(range(have, want))
    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(_start_all(environment, left))
    await _all_wait(environment, want)
    seconds = time.perf_counter() - started
    return {_MEMORY: resident_megabytes(pid), "to wait (messages/s)": (want - have) / seconds}


async def _start_all(environment: Environment, left: Iterator[int]) -> None:
    for _ in left:
        send_at = datetime.now(UTC) + _AHEAD
        await environment.start(environment.side(PRODUCT), send_at=send_at.isoformat())


async def _all_wait(environment: Environment, count: int) -> None:
    """Return when each has had its first workflow task, which sets its status to scheduled."""
    query = f"{MESSAGE_STATUS.name} = '{Stage.SCHEDULED.value}'"
    async with asyncio.timeout(_TIMEOUT_SECONDS):
        while (await environment.client.count_workflows(query)).count < count:  # noqa: ASYNC110 - remote
            await asyncio.sleep(_POLL_SECONDS)
