"""Messages a second through their whole life, and the CPU time of each, against the baseline.

A message is started by a Temporal client, posted to the sandbox over HTTP, called back through the
webhook, and reported; a fixed number is in flight. The baseline (`baseline.py`) makes
the same hops with none of the features. A second benchmark compares one, two and four workers.
"""

from devtools.bench.environment import (
    BASELINE,
    PRODUCT,
    UNPACED,
    Environment,
    alternate,
    in_flight,
    servers,
)
from devtools.bench.figures import Bound, Sample
from devtools.bench.processes import CpuMeter
from devtools.bench.report import Report
from devtools.bench.sizes import Sizes

RATE = "messages/s"


async def run(sizes: Sizes) -> Report:
    """Measure it."""

    async def measure(environment: Environment, side_name: str) -> Sample:
        return await measure_throughput(environment, side_name, sizes)

    return Report(
        benchmark="throughput",
        question="messages a second and CPU a message, until delivered",
        rounds=await alternate(
            [PRODUCT, BASELINE],
            measure,
            rounds=sizes.rounds,
            legs=sizes.legs,
            on_cluster=sizes.on_cluster,
        ),
        baseline=BASELINE,
        bounds=[Bound(side=PRODUCT, figure=RATE, at_least=1.1, against=BASELINE)],
        conditions={
            "messages": sizes.messages,
            "in flight": sizes.concurrency,
            **servers(sizes),
            **UNPACED,
        },
    )


async def measure_throughput(
    environment: Environment, side_name: str, sizes: Sizes, *, workers: int | None = None
) -> Sample:
    """One round of one side."""
    side = environment.side(side_name)
    with environment.running(side, workers=workers):
        await in_flight(environment, side, messages=sizes.warm_up, concurrency=sizes.concurrency)
        meter = CpuMeter(environment.parts(side))
        seconds = await in_flight(
            environment, side, messages=sizes.messages, concurrency=sizes.concurrency
        )
        return {RATE: sizes.messages / seconds, **meter.per_message(sizes.messages)}


async def run_workers(sizes: Sizes) -> Report:
    """Measure it."""
    counts = {
        f"{count} worker{'s' if count > 1 else ''}": count for count in sizes.worker_processes
    }

    async def measure(environment: Environment, side_name: str) -> Sample:
        return await measure_throughput(environment, PRODUCT, sizes, workers=counts[side_name])

    rounds = await alternate(
        list(counts),
        measure,
        rounds=sizes.rounds,
        legs=sizes.legs,
        workers=max(sizes.worker_processes),
        on_cluster=sizes.on_cluster,
    )
    return Report(
        benchmark="workers",
        question="messages a second with one worker process, two and four",
        rounds=rounds,
        baseline=next(iter(counts)),
        conditions={
            "messages": sizes.messages,
            "in flight": sizes.concurrency,
            **servers(sizes),
            **UNPACED,
        },
    )
