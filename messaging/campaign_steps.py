"""What the campaign workflow and its activities say to each other. Internal."""

from datetime import datetime, timedelta
from typing import Final

from messaging.contract import CAMPAIGN_ID, SEND_MESSAGE, CampaignState, Outcome
from messaging.steps import Step

OPEN_CAMPAIGN: Final = "open_campaign"
HAND_OVER: Final = "hand_over"
SET_CAMPAIGN_STATE: Final = "set_campaign_state"
COUNT_MESSAGES: Final = "count_messages"
COUNT_OUTCOMES: Final = "count_outcomes"

NO_SUCH_CAMPAIGN: Final = "NoSuchCampaign"
"""The error type of a campaign that the database does not know."""
CAMPAIGN_OVER: Final = "CampaignOver"
"""The error type of a decision that came after the campaign's end."""


class CampaignKey(Step):
    """Which campaign."""

    campaign_id: str


class CampaignStanding(Step):
    """How the campaign stands in the database."""

    state: CampaignState
    since: datetime
    rows: int


class StateChange(Step):
    """A decision about a campaign, and the moment at which it was taken."""

    campaign_id: str
    state: CampaignState
    since: datetime


class HandOverRequest(Step):
    """Go on after this row."""

    campaign_id: str
    after_row: int


class HandOver(Step):
    """What was handed over."""

    last_row: int
    """Up to which row all messages have been started."""
    left_out: int
    """Rows among them of which no message could be made."""
    come_again: timedelta
    """When the sender will have use for more."""
    standing: CampaignStanding
    """As it was when the activity began."""


class MessageCounts(Step):
    """How many messages of the campaign Temporal's list holds; it lags behind by a moment."""

    running: int
    ended: int


class OutcomeCounts(Step):
    """How the messages ended, by Temporal's list."""

    outcomes: dict[Outcome, int]


def messages_of(campaign_id: str) -> str:
    """The visibility query for the campaign's messages."""
    return f"WorkflowType='{SEND_MESSAGE}' AND {CAMPAIGN_ID.name}='{campaign_id}'"
