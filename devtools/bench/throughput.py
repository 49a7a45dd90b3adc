"""Messages a second through their whole life, and the CPU time of each, against the baseline.

A message is started by a Temporal client, posted to the sandbox over HTTP, called back through the
webhook, and reported; a fixed number is in flight. The baseline (`baseline.py`) makes
the same hops with none of the features. A second benchmark compares one, two and four workers.

The sides take turns of a few seconds, with the processes of both running: a neighbor of a virtual
machine may slow it down by a third for half a minute, and then slows both.
"""

from devtools.bench.environment import (
    BASELINE,
    PRODUCT,
    UNPACED,
    Environment,
    Side,
    alternate,
    fresh_stack,
    in_flight,
    log_progress,
    servers,
    set_up,
)
from devtools.bench.figures import Bound, Rounds, Sample, mean
from devtools.bench.processes import CpuMeter
from devtools.bench.report import Report
from devtools.bench.sizes import Sizes

RATE = "messages/s"


async def run(sizes: Sizes) -> Report:
    """Measure it."""
    samples: dict[str, list[Sample]] = {PRODUCT: [], BASELINE: []}
    for number in range(sizes.rounds):
        with fresh_stack(on_cluster=sizes.on_cluster) as (stack, group):
            environment = await set_up(stack, group)
            sides = [environment.side(name) for name in samples]
            for name, sample in (await _by_turns(environment, sides, sizes)).items():
                samples[name].append(sample)
                log_progress(f"round {number + 1} of {sizes.rounds}, {name}", sample)
    return Report(
        benchmark="throughput",
        question="messages a second and CPU a message, until delivered",
        rounds=Rounds(samples),
        baseline=BASELINE,
        bounds=[Bound(side=PRODUCT, figure=RATE, at_least=1.1, against=BASELINE)],
        conditions={
            "messages": sizes.turns * sizes.turn_messages,
            "turns": sizes.turns,
            "in flight": sizes.concurrency,
            **servers(sizes),
            **UNPACED,
        },
    )


async def _by_turns(environment: Environment, sides: list[Side], sizes: Sizes) -> dict[str, Sample]:
    """One round: the sides in turn, in the order A, B, B, A, after a turn that is not measured."""
    seconds: dict[str, float] = dict.fromkeys((side.name for side in sides), 0.0)
    cpu: dict[str, list[Sample]] = {side.name: [] for side in sides}

    async def take_turn(side: Side) -> float:
        return await in_flight(
            environment, side, messages=sizes.turn_messages, concurrency=sizes.concurrency
        )

    with environment.running(sides[0]), environment.running(sides[1]):
        for side in sides:
            await take_turn(side)
        for number in range(sizes.turns):
            for side in sides if number % 2 == 0 else reversed(sides):
                meter = CpuMeter(environment.parts(side))
                seconds[side.name] += await take_turn(side)
                cpu[side.name].append(meter.per_message(sizes.turn_messages))
    messages = sizes.turns * sizes.turn_messages
    return {name: {RATE: messages / seconds[name], **mean(cpu[name])} for name in cpu}


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
