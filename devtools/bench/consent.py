"""The time in which a STOP comes too late: from the check's commit to the POST's first byte.

Read from the worker's own histogram `signedfor_check_to_post_seconds`, at half load and at full
load. Each figure is the upper bound of the histogram's bucket, so it is never too low.
"""

import math
import re

import httpx

from devtools.bench.environment import (
    PRODUCT,
    SETTINGS,
    UNPACED,
    Environment,
    at_rate,
    delivered,
    fresh_stack,
    in_flight,
    log_progress,
    set_up,
)
from devtools.bench.figures import Bound, Rounds, Sample
from devtools.bench.report import Report
from devtools.bench.sizes import Sizes
from devtools.stack.ports import HOST, free_ports
from signedfor.metrics import CHECK_TO_POST

_HALF, _FULL = "half load", "full load"
_BUCKET = re.compile(rf'^{CHECK_TO_POST}_bucket{{.*le="([^"]+)".*}} (\S+)$', re.MULTILINE)
_MOST_SECONDS = 1.0


async def run(sizes: Sizes) -> Report:
    """Measure it."""
    samples: dict[str, list[Sample]] = {_HALF: [], _FULL: []}
    for _ in range(sizes.rounds):
        for load, sample in (await _measure(sizes)).items():
            samples[load].append(sample)
            log_progress(load, sample)
    return Report(
        benchmark="consent",
        question="from the check's commit to the first byte of the POST",
        rounds=Rounds(samples),
        baseline=_HALF,
        bounds=[
            Bound(side=load, figure="max (ms)", at_most=1000 * _MOST_SECONDS)
            for load in (_HALF, _FULL)
        ],
        conditions={"messages": sizes.messages, "in flight": sizes.concurrency, **UNPACED},
    )


async def _measure(sizes: Sizes) -> dict[str, Sample]:
    (port,) = free_ports(1)
    settings = SETTINGS | {"WORKER_METRICS_ADDRESS": f"{HOST}:{port}"}
    with fresh_stack(settings=settings) as (stack, group):
        environment = await set_up(stack, group)
        side = environment.side(PRODUCT)
        with environment.running(side):
            await in_flight(
                environment, side, messages=sizes.warm_up, concurrency=sizes.concurrency
            )
            before = await _buckets(port)
            seconds = await in_flight(
                environment, side, messages=sizes.messages, concurrency=sizes.concurrency
            )
            after_full = await _buckets(port)
            await _at_half_load(environment, sizes, rate=_half(sizes.messages, seconds))
            after_half = await _buckets(port)
    return {_FULL: _window(before, after_full), _HALF: _window(after_full, after_half)}


def _half(messages: int, seconds: float) -> float:
    return messages / seconds / 2


async def _at_half_load(environment: Environment, sizes: Sizes, *, rate: float) -> None:
    side = environment.side(PRODUCT)

    async def send(_number: int, _due: float) -> None:
        await delivered(await environment.start(side))

    await at_rate(sizes.messages, rate, send)


async def _buckets(port: int) -> dict[float, float]:
    """How many POSTs had at most so many seconds, by the histogram's bounds."""
    async with httpx.AsyncClient(trust_env=False) as http:
        text = (await http.get(f"http://{HOST}:{port}/metrics")).text
    found: dict[float, float] = {}
    for bound, count in _BUCKET.findall(text):
        key = math.inf if bound == "+Inf" else float(bound)
        found[key] = found.get(key, 0.0) + float(count)
    return found


def _window(before: dict[float, float], after: dict[float, float]) -> Sample:
    counts = {bound: count - before.get(bound, 0.0) for bound, count in sorted(after.items())}
    total = counts[math.inf]

    def at(share: float) -> float:
        return next(1000 * bound for bound, count in counts.items() if count >= share * total)

    return {"p50 (ms)": at(0.5), "p99 (ms)": at(0.99), "max (ms)": at(1.0), "POSTs": total}
