"""Page after page of rows handed over by the activity itself, in turn with as many bare starts."""

import asyncio
import time

from signedfor.campaign_steps import CampaignKey
from temporalio.testing import ActivityEnvironment

from activities.campaigns import AT_A_TIME, CampaignFeed
from devtools.bench.campaigning.desk import Desk, NotMeasured
from devtools.bench.harness.figures import Bound, Sample
from devtools.bench.harness.house import FLOOR
from devtools.bench.harness.sizes import Sizes

HANDED_OVER, BARE = "hand-over", "bare starts"
_ROWS = "rows/s"


async def hand_over(desk: Desk, sizes: Sizes) -> dict[str, list[Sample]]:
    """Measure it, without a worker."""
    rows = sizes.campaign_page
    sides = {HANDED_OVER: _hand_over_a_page, BARE: _start_a_page}
    found: dict[str, list[Sample]] = {side: [] for side in sides}
    for number in range(sizes.campaign_pages):
        for side in sorted(sides, reverse=bool(number % 2)):
            found[side].append({_ROWS: rows / await sides[side](desk, rows)})
    return found


def bounds() -> list[Bound]:
    """What must hold."""
    return [Bound(side=HANDED_OVER, figure=_ROWS, at_least=0.7, against=BARE)]


async def hand_over_all(desk: Desk, campaign_id: str, rows: int) -> float:
    """All rows of a campaign in one page; the seconds it took.

    Raises:
        NotMeasured: they were not all handed over.
    """
    feed = CampaignFeed(desk.campaigns, desk.pacing, desk.house.client, page=rows)
    key = CampaignKey(campaign_id=campaign_id)
    begun = time.perf_counter()
    handed = await ActivityEnvironment().run(feed.hand_over, key)
    seconds = time.perf_counter() - begun
    come = handed.standing.last_row
    if come != rows:
        raise NotMeasured(f"Of a page of {rows} rows {come} were handed over.")
    return seconds


async def _hand_over_a_page(desk: Desk, rows: int) -> float:
    return await hand_over_all(desk, desk.loaded(rows), rows)


async def _start_a_page(desk: Desk, rows: int) -> float:
    left, floor = iter(range(rows)), desk.house.side(FLOOR)

    async def start_the_rest() -> None:
        for _ in left:
            await desk.house.hand_in(floor)

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(AT_A_TIME):
            group.create_task(start_the_rest())
    return time.perf_counter() - begun
