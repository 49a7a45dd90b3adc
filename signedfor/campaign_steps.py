"""What the campaign workflow and its activities say to each other. Internal."""

from datetime import datetime, timedelta
from typing import Final, Self

from signedfor.contract import SEND_MESSAGE, CampaignState, Outcome
from signedfor.search_attributes import CAMPAIGN_ID
from signedfor.steps import Step

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
    last_row: int
    """Up to which row all messages have been started."""
    skipped: int
    """Rows among them of which no message could be made."""

    def updated(self, other: Self) -> Self:
        """What is known once the other is known too, whichever was read first."""
        newer = other if other.since >= self.since else self
        further = other if other.last_row >= self.last_row else self
        come = {"last_row": further.last_row, "skipped": further.skipped}
        return newer.model_copy(update=come)


class StateChange(Step):
    """A decision about a campaign, and the moment at which it was taken."""

    campaign_id: str
    state: CampaignState
    since: datetime


class HandOver(Step):
    """What came of handing over the next rows."""

    standing: CampaignStanding
    """As it was when the last of them were noted."""
    come_again: timedelta
    """When the sender will have use for more."""


class CountRequest(Step):
    """Which campaign, and the last row that was handed over."""

    campaign_id: str
    last_row: int


class MessageCounts(Step):
    """How many messages of the campaign run and have ended.

    As Temporal's list says, which lags behind; but none is running only if the last row's message
    is known not to.
    """

    running: int
    ended: int


class OutcomeCounts(Step):
    """How the messages ended, by Temporal's list."""

    outcomes: dict[Outcome, int]


def messages_of(campaign_id: str) -> str:
    """The visibility query for the campaign's messages."""
    return f"WorkflowType='{SEND_MESSAGE}' AND {CAMPAIGN_ID.name}='{campaign_id}'"
