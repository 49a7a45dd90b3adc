"""A sender's pace on the real thing: is its rate used, is it kept, and who is made to wait?

Three lines of messages, one after the other, all waiting for their slots before the first slot
comes: long texts behind one fast long code, with urgent ones and another sender's in between; a few
at each of very many slow senders; and once more long texts, with the workers killed for a minute.
When a POST arrives is told by the sandbox.
"""

import asyncio
import time

from devtools.bench.harness.figures import Rounds, Sample
from devtools.bench.harness.house import OURS, furnish, open_stack
from devtools.bench.harness.loads import in_flight
from devtools.bench.harness.report import Report
from devtools.bench.harness.rounds import tell
from devtools.bench.harness.sizes import Sizes
from devtools.bench.paced import many_senders, one_sender, outage
from devtools.bench.paced.ground import Ground, try_out
from devtools.bench.paced.lines import lines_of

_LONGEST_SECONDS = 2400.0


async def run(sizes: Sizes) -> Report:
    """Measure it."""
    async with asyncio.timeout(_LONGEST_SECONDS):
        with open_stack() as (stack, group):
            house = await furnish(stack, group)
            side = house.side(OURS)
            with house.running(side):
                warm_up = await in_flight(
                    house, side, messages=sizes.warm_up, at_once=sizes.at_once
                )
                with lines_of(house) as lines:
                    ground = Ground(house, lines, sizes, seconds_a_life=warm_up / sizes.warm_up)
                    await try_out(ground)
                    samples = await _every_line(ground)
    return Report(
        benchmark="pacing",
        question="the rate used and kept, and who waits",
        rounds=Rounds({side: [sample] for side, sample in samples.items()}),
        bounds=[
            bound for line in (one_sender, many_senders, outage) for bound in line.bounds(sizes)
        ],
        conditions={
            "segments/s of one sender": sizes.paced_rate,
            "and of the one cut off": sizes.cut_off_rate,
            "segments of their texts": sizes.paced_segments,
            "senders": sizes.many_senders,
            "messages of each": sizes.each_sender,
            "segments/s of each": sizes.slow_rate,
            "seconds without workers": sizes.outage_seconds,
        },
    )


async def _every_line(ground: Ground) -> dict[str, Sample]:
    samples: dict[str, Sample] = {}
    for measure in (
        one_sender.behind_one_sender,
        many_senders.many_senders,
        outage.after_an_outage,
    ):
        begun = time.monotonic()
        found = await measure(ground)
        for side, sample in found.items():
            tell(f"{side}, after {time.monotonic() - begun:.0f} s", sample)
        samples |= found
    return samples
