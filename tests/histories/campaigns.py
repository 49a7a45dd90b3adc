"""Campaigns: dispatched, paused, resumed, canceled and finished."""

import asyncio
from datetime import timedelta

from signedfor.contract import CANCEL_UPDATE, PAUSE_UPDATE, RESUME_UPDATE, CampaignState
from tests.histories.recording import Handle
from tests.workflows.campaigns import FakeCampaign, serving_campaign, start_campaign
from tests.workflows.fakes import TimeSkippingEnvironment

_A_WHILE = timedelta(hours=1)


async def _run(
    env: TimeSkippingEnvironment, fake: FakeCampaign, *decisions: str, canceled: bool = False
) -> Handle:
    """Run a campaign to its end, with decisions or Temporal's own cancellation after page one."""
    async with serving_campaign(env.client, fake) as queue:
        handle = await start_campaign(env.client, queue)
        if (decisions or canceled) and not fake.cannot_be_opened:
            await fake.until_dispatched(1)
        for decision in decisions:
            await handle.execute_update(decision)
        fake.may_answer.set()
        if canceled:
            await handle.cancel()
        # The worker is needed until the workflow has completed or failed.
        await asyncio.gather(handle.result(), return_exceptions=True)
    return handle


async def campaign_finished(env: TimeSkippingEnvironment) -> Handle:
    """Three pages, and messages that end one after another."""
    return await _run(env, FakeCampaign(next_in=timedelta(seconds=15), running=[3, 1]))


async def campaign_continued(env: TimeSkippingEnvironment) -> Handle:
    """A later run, which starts where the previous one ended."""
    return await _run(env, FakeCampaign(last_row=3, skipped=1, without_message=1))


async def campaign_paused_and_resumed(env: TimeSkippingEnvironment) -> Handle:
    """A pause between two pages."""
    return await _run(env, FakeCampaign(next_in=_A_WHILE), PAUSE_UPDATE, RESUME_UPDATE)


async def campaign_canceled(env: TimeSkippingEnvironment) -> Handle:
    """Paused and then canceled; the first write to the database fails."""
    fake = FakeCampaign(next_in=_A_WHILE, write_fails=1, running=[2])
    return await _run(env, fake, PAUSE_UPDATE, CANCEL_UPDATE)


async def campaign_canceled_during_a_page(env: TimeSkippingEnvironment) -> Handle:
    """Canceled while rows are dispatched; the state in that activity's result is older."""
    return await _run(env, FakeCampaign(silent_after=2), CANCEL_UPDATE)


async def campaign_canceled_before_it_was_opened(env: TimeSkippingEnvironment) -> Handle:
    """Its rows have not been loaded."""
    fake = FakeCampaign(rows=0, state=CampaignState.LOADING, cannot_be_opened=True)
    return await _run(env, fake, CANCEL_UPDATE)


async def campaign_missing_from_visibility(env: TimeSkippingEnvironment) -> Handle:
    """A message is missing from visibility until the workflow stops waiting for it."""
    return await _run(env, FakeCampaign(missing=1))


async def campaign_canceled_by_temporal(env: TimeSkippingEnvironment) -> Handle:
    """Canceled with the button in the Temporal UI."""
    return await _run(env, FakeCampaign(next_in=_A_WHILE), canceled=True)


async def campaign_that_does_not_exist(env: TimeSkippingEnvironment) -> Handle:
    """The database has no such campaign."""
    return await _run(env, FakeCampaign(rows=None))
