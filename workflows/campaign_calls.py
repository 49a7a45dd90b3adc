"""The activities of a campaign as its workflow calls them."""

from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import Priority
from temporalio.workflow import ActivityHandle

from signedfor.campaign_steps import (
    COUNT_MESSAGES,
    COUNT_OUTCOMES,
    HAND_OVER,
    OPEN_CAMPAIGN,
    SET_CAMPAIGN_STATE,
    CampaignKey,
    CampaignStanding,
    CountRequest,
    HandOver,
    MessageCounts,
    OutcomeCounts,
    StateChange,
)
from signedfor.contract import CampaignState, Outcome
from signedfor.contract import Priority as MessagePriority
from signedfor.retry import BOOKKEEPING_TIMEOUT, EVERY_FEW_SECONDS, UNTIL_IT_ANSWERS

_FIRST = Priority(priority_key=1)
"""A pause must not queue behind what it is to stop."""
_LAST = Priority(priority_key=MessagePriority.BULK.temporal_key)
"""Nobody waits for these. Without a word they would have the workflow's own priority, the first."""
_HAND_OVER_TIMEOUT = timedelta(minutes=3)
_SILENCE = timedelta(seconds=10)
"""The activity reports every two seconds; a worker that does not is taken for dead."""
_COUNT_TIMEOUT = timedelta(seconds=30)


def start_opening(campaign_id: str) -> ActivityHandle[CampaignStanding]:
    """How it stands, once its rows are loaded; ActivityError if there is no such campaign."""
    return workflow.start_activity(
        OPEN_CAMPAIGN,
        CampaignKey(campaign_id=campaign_id),
        result_type=CampaignStanding,
        start_to_close_timeout=BOOKKEEPING_TIMEOUT,
        retry_policy=EVERY_FEW_SECONDS,
        priority=_FIRST,
        summary="read the campaign",
    )


async def set_state(campaign_id: str, state: CampaignState, *, since: datetime) -> CampaignStanding:
    """Write the state, however long the database takes; how it stands then."""
    standing: CampaignStanding = await workflow.execute_activity(
        SET_CAMPAIGN_STATE,
        StateChange(campaign_id=campaign_id, state=state, since=since),
        result_type=CampaignStanding,
        start_to_close_timeout=BOOKKEEPING_TIMEOUT,
        retry_policy=EVERY_FEW_SECONDS,
        priority=_FIRST,
        summary=state.value,
    )
    return standing


async def hand_over(campaign_id: str, *, after_row: int) -> HandOver:
    """Start the messages of the next rows; however often it is tried, each once.

    The database knows which are next: `after_row` is only for people to read.
    """
    handed: HandOver = await workflow.execute_activity(
        HAND_OVER,
        CampaignKey(campaign_id=campaign_id),
        result_type=HandOver,
        start_to_close_timeout=_HAND_OVER_TIMEOUT,
        heartbeat_timeout=_SILENCE,
        retry_policy=UNTIL_IT_ANSWERS,
        priority=_LAST,
        summary=f"after row {after_row}",
    )
    return handed


async def count_messages(campaign_id: str, *, last_row: int) -> MessageCounts:
    """How many of its messages run and have ended, as far as Temporal's list knows."""
    counts: MessageCounts = await workflow.execute_activity(
        COUNT_MESSAGES,
        CountRequest(campaign_id=campaign_id, last_row=last_row),
        result_type=MessageCounts,
        start_to_close_timeout=_COUNT_TIMEOUT,
        retry_policy=UNTIL_IT_ANSWERS,
        priority=_LAST,
        summary="count its messages",
    )
    return counts


async def count_outcomes(campaign_id: str) -> dict[Outcome, int]:
    """How its messages ended, by Temporal's list."""
    counts: OutcomeCounts = await workflow.execute_activity(
        COUNT_OUTCOMES,
        CampaignKey(campaign_id=campaign_id),
        result_type=OutcomeCounts,
        start_to_close_timeout=_COUNT_TIMEOUT,
        retry_policy=UNTIL_IT_ANSWERS,
        priority=_LAST,
        summary="count the outcomes",
    )
    return counts.outcomes
