"""One worker process against two and four: what a further process brings on this machine."""

from bench.harness.figures import Sample
from bench.harness.house import OURS, House
from bench.harness.report import Report
from bench.harness.rounds import alternate
from bench.harness.sizes import Sizes
from bench.life import whole_lives

_COUNTS = {"1 worker": 1, "2 workers": 2, "4 workers": 4}


async def run(sizes: Sizes) -> Report:
    """Measure it."""

    async def measure(house: House, side_name: str) -> Sample:
        return await whole_lives(house, OURS, sizes, workers=_COUNTS[side_name])

    rounds = await alternate(
        list(_COUNTS), measure, rounds=sizes.rounds, workers=max(_COUNTS.values())
    )
    return Report(
        benchmark="workers",
        question="messages a second with one worker process, two and four",
        rounds=rounds,
        floor="1 worker",
        conditions={"messages": sizes.messages, "under way at a time": sizes.at_once},
    )
