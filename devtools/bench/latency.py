"""From the caller's start to Twilio's receiving the POST, idle and at half load.

The floor is a bare activity that posts. Idle: one message after the other. Half load: at half the
messages a second that ours manages, found out in the first round and the same for both sides,
whether or not they keep up (open loop).
"""

import time

from devtools.stack.local import message_id_of
from devtools.bench.harness.figures import Bound, Sample, percentiles
from devtools.bench.harness.house import FLOOR, NO_WAIT, OURS, House, Side
from devtools.bench.harness.loads import at_rate, in_flight, settled
from devtools.bench.harness.report import Report
from devtools.bench.harness.rounds import alternate
from devtools.bench.harness.sizes import Sizes

_HALF = 0.5


async def run(sizes: Sizes) -> Report:
    """Measure it."""
    rate: float | None = None

    async def measure(house: House, side_name: str) -> Sample:
        nonlocal rate
        if rate is None:
            rate = await _half_load(house, sizes)
        side = house.side(side_name)
        with house.running(side):
            await in_flight(house, side, messages=sizes.warm_up, at_once=sizes.at_once)
            idle = await _one_by_one(house, side, sizes.idle_messages)
            busy = await _steadily(house, side, rate=rate, count=round(rate * sizes.seconds) + 2)
        return {**percentiles(idle, "idle "), **percentiles(busy, "half load ")}

    rounds = await alternate([OURS, FLOOR], measure, rounds=sizes.rounds, legs=sizes.legs)
    return Report(
        benchmark="latency",
        question="from the start of a message to its POST",
        rounds=rounds,
        floor=FLOOR,
        bounds=[
            Bound(side=OURS, figure=f"{load} p95 (ms)", at_most=1.3, against=FLOOR)
            for load in ("idle", "half load")
        ],
        conditions={
            "messages one by one": sizes.idle_messages,
            "half load (messages/s)": round(rate or 0, 1),
            "seconds of it": sizes.seconds,
            **NO_WAIT,
        },
    )


async def _half_load(house: House, sizes: Sizes) -> float:
    side = house.side(OURS)
    with house.running(side):
        await in_flight(house, side, messages=sizes.warm_up, at_once=sizes.at_once)
        seconds = await in_flight(house, side, messages=sizes.messages, at_once=sizes.at_once)
    return _HALF * sizes.messages / seconds


async def _one_by_one(house: House, side: Side, count: int) -> list[float]:
    begun: dict[str, float] = {}
    since = time.time()
    for _ in range(count):
        at = time.time()
        handle = await house.hand_in(side)
        begun[handle.id.removeprefix(side.prefix)] = at
        await settled(handle)
    return _latencies(house, begun, since)


async def _steadily(house: House, side: Side, *, rate: float, count: int) -> list[float]:
    begun: dict[str, float] = {}
    since = time.time()

    async def carry(_number: int, due: float) -> None:
        at = time.time() - (time.perf_counter() - due)
        handle = await house.hand_in(side)
        begun[handle.id.removeprefix(side.prefix)] = at
        await settled(handle)

    await at_rate(count, rate, carry)
    return _latencies(house, begun, since)


def _latencies(house: House, begun: dict[str, float], since: float) -> list[float]:
    """Seconds to the POST, by the sandbox's own books; driver and sandbox share one clock."""
    accepted = house.stack.sandbox.ledger(since=since)["accepted"]
    posted = {message_id_of(row): row["created"] for row in accepted}
    return [posted[message_id] - at for message_id, at in begun.items()]
