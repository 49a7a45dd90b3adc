"""A campaign's way: its rows are checked, loaded, handed over to Temporal, and stopped.

Checking and loading are the real command on a large file, and on a small one to compare its memory
with. The large campaign then is under way on a worker, at a sender that is faster than this
machine; it is paused now and then, and canceled. A smaller one runs to its end while its worker is
killed. Last, without a worker, pages of rows are handed over by the activity that does it, in turn
with a bare loop that starts the floor's workflows with the same client, as many at once.
"""

import asyncio

from activities.campaigns import AT_A_TIME
from devtools.bench.campaigning import command, handing_over, killed, under_way
from devtools.bench.campaigning.desk import desk_of
from devtools.bench.harness.figures import Rounds, Sample
from devtools.bench.harness.house import OURS, furnish, open_stack
from devtools.bench.harness.report import Report
from devtools.bench.harness.rounds import tell
from devtools.bench.harness.sizes import Sizes

_LONGEST_SECONDS = 1500.0


async def run(sizes: Sizes) -> Report:
    """Measure it."""
    samples: dict[str, list[Sample]] = {}

    def keep(found: dict[str, list[Sample]]) -> None:
        for side, of_side in found.items():
            tell(side, of_side[-1])
        samples.update(found)

    async with asyncio.timeout(_LONGEST_SECONDS):
        with open_stack() as (stack, group):
            house = await furnish(stack, group)
            with desk_of(house) as desk:
                found, campaign_id = await command.check_and_load(
                    desk, rows=sizes.rows, few=sizes.few_rows
                )
                keep(found)
                with house.running(house.side(OURS)):
                    keep(await under_way.under_way(desk, campaign_id, sizes))
                    keep(await killed.killed(desk, sizes))
                keep(await handing_over.hand_over(desk, sizes))
    return Report(
        benchmark="campaigns",
        question=f"{sizes.rows:,} rows checked and loaded, paused and canceled; rows handed over",
        rounds=Rounds(samples),
        bounds=[
            *command.bounds(),
            *under_way.bounds(),
            *killed.bounds(),
            *handing_over.bounds(),
        ],
        conditions={
            "seconds before each pause": sizes.pause_every_seconds,
            "pages handed over": sizes.campaign_pages,
            "rows a page": sizes.campaign_page,
            "started at once": AT_A_TIME,
        },
    )
