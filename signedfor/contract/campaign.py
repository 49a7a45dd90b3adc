"""A campaign: its message template, the updates and query it handles, and its report."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from signedfor.contract.base import ContractModel, OnUnknownOutcome, Outcome, OutputModel, Priority
from signedfor.contract.fields import (
    MAX_MEDIA,
    Label,
    MediaUrl,
    Note,
    Sender,
    Template,
    ZonedTime,
    problem,
)
from signedfor.contract.message import ReceiptTimeout, Tags
from signedfor.contract.send_window import SendWindow


class CampaignState(StrEnum):
    """The state of a campaign."""

    LOADING = "loading"
    """Its recipients are being written to the database; nothing is sent yet."""
    RUNNING = "running"
    """Its messages are started and submitted."""
    PAUSED = "paused"
    """None of its messages is submitted until it is resumed."""
    CANCELED = "canceled"
    """None of its messages is submitted any more."""
    FINISHED = "finished"
    """All its messages have ended."""


def _not_urgent(value: Priority) -> Priority:
    if value is Priority.URGENT:
        raise problem("must be normal or bulk: an urgent campaign would delay one-time codes")
    return value


class CampaignMessage(ContractModel):
    """What all messages of a campaign share; `{column}` in `body` is replaced from each row."""

    sender: Annotated[Sender, Field(alias="from")]
    """As in `MessageRequest`, and required."""
    body: Template
    """The template; each rendered text must be a valid `body`."""
    media_urls: Annotated[tuple[MediaUrl, ...], Field(max_length=MAX_MEDIA)] = ()
    """As in `MessageRequest`."""
    priority: Annotated[Priority, AfterValidator(_not_urgent)] = Priority.BULK
    """`normal` or `bulk`."""
    category: Label | None = None
    """As in `MessageRequest`."""
    tenant: Label | None = None
    """As in `MessageRequest`."""
    expires_at: ZonedTime | None = None
    """As in `MessageRequest`."""
    send_window: SendWindow | None = None
    """As in `MessageRequest`."""
    receipt_timeout_seconds: ReceiptTimeout = 12 * 3600
    """As in `MessageRequest`."""
    on_unknown_outcome: OnUnknownOutcome | None = None
    """As in `MessageRequest`."""
    tags: Tags = Field(max_length=32, default_factory=dict)
    """As in `MessageRequest`."""


class CampaignRequest(ContractModel):
    """The input of `Campaign`: `{}`. The rest is in the database: `signedfor campaign start`."""


class CampaignDecision(ContractModel):
    """Updates `pause`, `resume` and `cancel`: optionally, who requested it and why."""

    by: Note | None = None
    """Who requested it. Recorded in the workflow's history only."""
    reason: Note | None = None
    """Why. Recorded in the workflow's history only."""


class CampaignProgress(OutputModel):
    """Answer to query `progress` and to `pause`, `resume` and `cancel`.

    To see its messages, list workflows with this `CampaignId`.
    """

    campaign_id: str
    """The campaign ID."""
    state: CampaignState
    """The state of the campaign."""
    since: datetime
    """When it entered this state."""
    rows: int
    """How many recipients it has."""
    dispatched: int
    """How many rows have had their message started."""


class CampaignReport(OutputModel):
    """The result of `Campaign`."""

    campaign_id: str
    """The campaign ID."""
    state: CampaignState
    """`finished` or `canceled`."""
    rows: int
    """How many recipients it had."""
    dispatched: int
    """How many rows had their message started."""
    outcomes: dict[Outcome, int]
    """How many messages ended with each outcome, as counted by Temporal's visibility."""
    finished_at: datetime
    """When its last message had ended."""
