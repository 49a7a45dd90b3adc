"""Campaigns: handed over, decided on, and ended."""

import asyncio
from datetime import timedelta

from messaging.contract import CANCEL_UPDATE, PAUSE_UPDATE, RESUME_UPDATE
from tests.histories.recording import Handle
from tests.workflows.campaigns import Feed, serving_campaign, start_campaign
from tests.workflows.courier import SkippingWorld

_A_WHILE = timedelta(hours=1)


async def _run(
    world: SkippingWorld, feed: Feed, *decisions: str, after_row: int = 0, canceled: bool = False
) -> Handle:
    """Run it to its end; decisions and Temporal's own cancel come after the first page."""
    async with serving_campaign(world.client, feed) as queue:
        handle = await start_campaign(world.client, queue, args=[{"after_row": after_row}])
        if decisions or canceled:
            await feed.until_handed(after_row + 1)
        for decision in decisions:
            await handle.execute_update(decision)
        if canceled:
            await handle.cancel()
        # An outcome that is an error is an outcome too; the worker is needed until then.
        await asyncio.gather(handle.result(), return_exceptions=True)
    return handle


async def campaign_finished(world: SkippingWorld) -> Handle:
    """Three pages, and messages that end one after the other."""
    return await _run(world, Feed(come_again=timedelta(seconds=15), running=[3, 1]))


async def campaign_continued(world: SkippingWorld) -> Handle:
    """A later run, which begins where the one before it ended."""
    return await _run(world, Feed(left_out=1), after_row=3)


async def campaign_paused_and_resumed(world: SkippingWorld) -> Handle:
    """A pause between two pages."""
    return await _run(world, Feed(come_again=_A_WHILE), PAUSE_UPDATE, RESUME_UPDATE)


async def campaign_canceled(world: SkippingWorld) -> Handle:
    """Paused and then canceled, the database being away for a moment."""
    feed = Feed(come_again=_A_WHILE, write_fails=1, running=[2])
    return await _run(world, feed, PAUSE_UPDATE, CANCEL_UPDATE)


async def campaign_canceled_by_temporal(world: SkippingWorld) -> Handle:
    """With the button in the Temporal UI."""
    return await _run(world, Feed(come_again=_A_WHILE), canceled=True)


async def campaign_that_is_not_there(world: SkippingWorld) -> Handle:
    """The database knows no such campaign."""
    return await _run(world, Feed(rows=None))
