"""Messages a second through the whole life, and the CPU each costs, against the bare hops.

A message is started by a Temporal client, admitted, posted to the sandbox over HTTP, called back
through the webhook, and settled; so many are under way at a time. The floor (`bench/floor`) makes
the same hops with none of the features.
"""

from devtools.bench.harness.figures import Bound, Sample
from devtools.bench.harness.house import FLOOR, NO_WAIT, OURS, House
from devtools.bench.harness.loads import in_flight
from devtools.bench.harness.meter import CpuMeter
from devtools.bench.harness.report import Report
from devtools.bench.harness.rounds import alternate
from devtools.bench.harness.sizes import Sizes

RATE = "messages/s"


async def run(sizes: Sizes) -> Report:
    """Measure it."""

    async def measure(house: House, side_name: str) -> Sample:
        return await whole_lives(house, side_name, sizes)

    return Report(
        benchmark="life",
        question="messages a second and CPU a message, through the whole life",
        rounds=await alternate([OURS, FLOOR], measure, rounds=sizes.rounds, legs=sizes.legs),
        floor=FLOOR,
        bounds=[Bound(side=OURS, figure=RATE, at_least=0.85, against=FLOOR)],
        conditions={
            "messages": sizes.messages,
            "under way at a time": sizes.at_once,
            **NO_WAIT,
        },
    )


async def whole_lives(
    house: House, side_name: str, sizes: Sizes, *, workers: int | None = None
) -> Sample:
    """One round of one side."""
    side = house.side(side_name)
    with house.running(side, workers=workers):
        await in_flight(house, side, messages=sizes.warm_up, at_once=sizes.at_once)
        meter = CpuMeter(house.parts(side))
        seconds = await in_flight(house, side, messages=sizes.messages, at_once=sizes.at_once)
        return {RATE: sizes.messages / seconds, **meter.per_message(sizes.messages)}
