"""One worker process against two and four: what a further process brings on this machine."""

from devtools.bench.harness.figures import Sample
from devtools.bench.harness.house import NO_WAIT, OURS, House
from devtools.bench.harness.report import Report
from devtools.bench.harness.rounds import alternate
from devtools.bench.harness.sizes import Sizes
from devtools.bench.life import whole_lives


async def run(sizes: Sizes) -> Report:
    """Measure it."""
    counts = {
        f"{count} worker{'s' if count > 1 else ''}": count for count in sizes.worker_processes
    }

    async def measure(house: House, side_name: str) -> Sample:
        return await whole_lives(house, OURS, sizes, workers=counts[side_name])

    rounds = await alternate(
        list(counts),
        measure,
        rounds=sizes.rounds,
        legs=sizes.legs,
        workers=max(sizes.worker_processes),
    )
    return Report(
        benchmark="workers",
        question="messages a second with one worker process, two and four",
        rounds=rounds,
        floor=next(iter(counts)),
        conditions={
            "messages": sizes.messages,
            "under way at a time": sizes.at_once,
            **NO_WAIT,
        },
    )
