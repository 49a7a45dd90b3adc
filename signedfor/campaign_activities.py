"""The activity interfaces of a campaign. Internal; see `message_activities`."""

from abc import ABC, abstractmethod
from datetime import datetime, timedelta
from typing import Final, Self

from temporalio import activity

from signedfor.contract import SEND_MESSAGE, CampaignState, Outcome
from signedfor.message_activities import ActivityModel
from signedfor.search_attributes import CAMPAIGN_ID

NO_SUCH_CAMPAIGN: Final = "NoSuchCampaign"
"""The error type for a campaign that is not in the database."""
CAMPAIGN_OVER: Final = "CampaignOver"
"""The error type for a decision after the campaign's end."""


class CampaignKey(ActivityModel):
    """The campaign that an activity is about."""

    campaign_id: str


class CampaignStatus(ActivityModel):
    """A campaign's state and progress in the database."""

    state: CampaignState
    since: datetime
    rows: int
    last_row: int
    """The messages of all rows up to this one have been started."""
    skipped: int
    """Rows among them for which no message could be started."""

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
    """The result of dispatching the next rows."""

    status: CampaignStatus
    """As of the last recorded rows."""
    next_in: timedelta
    """How long to wait before dispatching more."""


class CountRequest(ActivityModel):
    """A campaign and its last dispatched row."""

    campaign_id: str
    last_row: int


class MessageCounts(ActivityModel):
    """How many messages of the campaign are running and how many have ended.

    Temporal's visibility lags behind, so `running` is 0 only if the workflow of the last row has
    ended as well.
    """

    running: int
    ended: int


class OutcomeCounts(ActivityModel):
    """The outcomes of the messages, from Temporal's visibility."""

    outcomes: dict[Outcome, int]


class CampaignActivities(ABC):
    """The campaign's rows, its state and its messages."""

    @activity.defn
    @abstractmethod
    def open_campaign(self, key: CampaignKey) -> CampaignStatus:
        """Return its status once its rows are loaded."""

    @activity.defn
    @abstractmethod
    def set_campaign_state(self, change: StateChange) -> CampaignStatus:
        """Write the state; each message's last check before its POST reads it."""

    @activity.defn
    @abstractmethod
    async def dispatch_rows(self, key: CampaignKey) -> DispatchResult:
        """Start the messages of the next rows; a retry starts none twice."""

    @activity.defn
    @abstractmethod
    async def count_messages(self, request: CountRequest) -> MessageCounts:
        """Count its running and ended messages."""

    @activity.defn
    @abstractmethod
    async def count_outcomes(self, key: CampaignKey) -> OutcomeCounts:
        """Count its messages by outcome; outcomes that did not occur are omitted."""


def messages_of(campaign_id: str) -> str:
    """The visibility query for the campaign's messages."""
    return f"WorkflowType='{SEND_MESSAGE}' AND {CAMPAIGN_ID.name}='{campaign_id}'"
