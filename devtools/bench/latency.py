"""From the caller's start to Twilio's receiving the POST, idle and at half load.

The baseline is a bare activity that posts. Idle: one message after the other. Half load: half the
messages a second of the product's throughput, measured in the first round and the same for both
sides, whether or not they keep up (open loop).
"""

import time

from devtools.bench.environment import (
    BASELINE,
    PRODUCT,
    UNPACED,
    Environment,
    Side,
    alternate,
    at_rate,
    delivered,
    in_flight,
    servers,
)
from devtools.bench.figures import Bound, Sample, percentiles
from devtools.bench.report import Report
from devtools.bench.sizes import Sizes
from devtools.stack.local import row_message_id

_HALF = 0.5


async def run(sizes: Sizes) -> Report:
    """Measure it."""
    rate: float | None = None

    async def measure(environment: Environment, side_name: str) -> Sample:
        nonlocal rate
        if rate is None:
            rate = await _half_load(environment, sizes)
        side = environment.side(side_name)
        with environment.running(side):
            await in_flight(
                environment, side, messages=sizes.warm_up, concurrency=sizes.concurrency
            )
            idle = await _one_by_one(environment, side, sizes.idle_messages)
            busy = await _steadily(
                environment, side, rate=rate, count=round(rate * sizes.seconds) + 2
            )
        return {**percentiles(idle, "idle "), **percentiles(busy, "half load ")}

    rounds = await alternate(
        [PRODUCT, BASELINE],
        measure,
        rounds=sizes.rounds,
        legs=sizes.legs,
        on_cluster=sizes.on_cluster,
    )
    return Report(
        benchmark="latency",
        question="from the start of a message to its POST",
        rounds=rounds,
        baseline=BASELINE,
        bounds=[
            Bound(side=PRODUCT, figure="idle p50 (ms)", at_most=0.35, against=BASELINE),
            Bound(side=PRODUCT, figure="half load p95 (ms)", at_most=0.7, against=BASELINE),
        ],
        conditions={
            "messages one by one": sizes.idle_messages,
            "half load (messages/s)": round(rate or 0, 1),
            "seconds of it": sizes.seconds,
            **servers(sizes),
            **UNPACED,
        },
    )


async def _half_load(environment: Environment, sizes: Sizes) -> float:
    side = environment.side(PRODUCT)
    with environment.running(side):
        await in_flight(environment, side, messages=sizes.warm_up, concurrency=sizes.concurrency)
        seconds = await in_flight(
            environment, side, messages=sizes.messages, concurrency=sizes.concurrency
        )
    return _HALF * sizes.messages / seconds


async def _one_by_one(environment: Environment, side: Side, count: int) -> list[float]:
    started: dict[str, float] = {}
    since = time.time()
    for _ in range(count):
        at = time.time()
        handle = await environment.start(side)
        started[handle.id.removeprefix(side.prefix)] = at
        await delivered(handle)
    return _latencies(environment, started, since)


async def _steadily(
    environment: Environment, side: Side, *, rate: float, count: int
) -> list[float]:
    started: dict[str, float] = {}
    since = time.time()

    async def send(_number: int, due: float) -> None:
        at = time.time() - (time.perf_counter() - due)
        handle = await environment.start(side)
        started[handle.id.removeprefix(side.prefix)] = at
        await delivered(handle)

    await at_rate(count, rate, send)
    return _latencies(environment, started, since)


def _latencies(environment: Environment, started: dict[str, float], since: float) -> list[float]:
    """Seconds to the POST, by the sandbox's own ledger; driver and sandbox share one clock."""
    accepted = environment.stack.sandbox.ledger(since=since)["accepted"]
    posted = {row_message_id(row): row["created"] for row in accepted}
    return [posted[message_id] - at for message_id, at in started.items()]
