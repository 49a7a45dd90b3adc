"""The activities of a campaign as its workflow sees them. Internal; see `message_activities`."""

from abc import ABC, abstractmethod
from datetime import datetime, timedelta
from typing import Final, Self

from temporalio import activity

from signedfor.contract import SEND_MESSAGE, CampaignState, Outcome
from signedfor.message_activities import ActivityModel
from signedfor.search_attributes import CAMPAIGN_ID

NO_SUCH_CAMPAIGN: Final = "NoSuchCampaign"
"""The error type of a campaign that the database does not know."""
CAMPAIGN_OVER: Final = "CampaignOver"
"""The error type of a decision that came after the campaign's end."""


class CampaignKey(ActivityModel):
    """A campaign's id."""

    campaign_id: str


class CampaignStatus(ActivityModel):
    """A campaign's state and progress in the database."""

    state: CampaignState
    since: datetime
    rows: int
    last_row: int
    """The messages of all rows up to this one have been started."""
    skipped: int
    """How many of those rows could not be made into messages."""

    def merged(self, other: Self) -> Self:
        """The newer state and the greater progress of the two, in any order."""
        newer = other if other.since >= self.since else self
        further = other if other.last_row >= self.last_row else self
        return newer.model_copy(update={"last_row": further.last_row, "skipped": further.skipped})


class StateChange(ActivityModel):
    """A decision about a campaign, and when it was made."""

    campaign_id: str
    state: CampaignState
    since: datetime


class DispatchResult(ActivityModel):
    """The result of a dispatch."""

    status: CampaignStatus
    """The campaign's status when the last rows were recorded."""
    next_in: timedelta
    """When to dispatch more."""


class CountRequest(ActivityModel):
    """A campaign, and its last dispatched row."""

    campaign_id: str
    last_row: int


class MessageCounts(ActivityModel):
    """How many messages of the campaign are running and have ended.

    Temporal's visibility lags behind, so none is running only if the last row's own workflow says
    so too.
    """

    running: int
    ended: int


class OutcomeCounts(ActivityModel):
    """How the messages ended, by Temporal's visibility."""

    outcomes: dict[Outcome, int]


class CampaignActivities(ABC):
    """A campaign's rows, its state, and its messages."""

    @activity.defn
    @abstractmethod
    def open_campaign(self, key: CampaignKey) -> CampaignStatus:
        """Its status, once its rows are loaded."""

    @activity.defn
    @abstractmethod
    def set_campaign_state(self, change: StateChange) -> CampaignStatus:
        """Write the state, which applies to every message's last check from then."""

    @activity.defn
    @abstractmethod
    async def dispatch_rows(self, key: CampaignKey) -> DispatchResult:
        """Start the messages of the next rows, each once even if this is retried."""

    @activity.defn
    @abstractmethod
    async def count_messages(self, request: CountRequest) -> MessageCounts:
        """How many of its messages are running and have ended."""

    @activity.defn
    @abstractmethod
    async def count_outcomes(self, key: CampaignKey) -> OutcomeCounts:
        """How its messages ended; outcomes that did not occur are left out."""


def messages_of(campaign_id: str) -> str:
    """The visibility query for the campaign's messages."""
    return f"WorkflowType='{SEND_MESSAGE}' AND {CAMPAIGN_ID.name}='{campaign_id}'"
