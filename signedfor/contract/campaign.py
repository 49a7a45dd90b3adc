"""What a campaign takes and tells."""

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
from signedfor.contract.request import ReceiptTimeout, Tags
from signedfor.contract.send_window import SendWindow


class CampaignState(StrEnum):
    """Where a campaign stands."""

    LOADING = "loading"
    """Its rows are being written to the database; nothing is sent yet."""
    RUNNING = "running"
    PAUSED = "paused"
    """Nothing of it is submitted until it is resumed."""
    CANCELED = "canceled"
    """Nothing of it is submitted any more."""
    FINISHED = "finished"
    """Every message of it has ended."""


def _not_urgent(value: Priority) -> Priority:
    if value is Priority.URGENT:
        raise problem("must be normal or bulk: a campaign would hold up one-time codes")
    return value


class CampaignMessage(ContractModel):
    """What all messages of a campaign have in common; `body` has `{fields}` for each row's own."""

    sender: Annotated[Sender, Field(alias="from")]
    body: Template
    media_urls: Annotated[tuple[MediaUrl, ...], Field(max_length=MAX_MEDIA)] = ()
    priority: Annotated[Priority, AfterValidator(_not_urgent)] = Priority.BULK
    category: Label | None = None
    tenant: Label | None = None
    expires_at: ZonedTime | None = None
    send_window: SendWindow | None = None
    receipt_timeout_seconds: ReceiptTimeout = 12 * 3600
    on_unknown_outcome: OnUnknownOutcome | None = None
    tags: Tags = Field(max_length=32, default_factory=dict)


class CampaignRequest(ContractModel):
    """What `Campaign` takes: `{}`. All that it is made of is in the database: `campaign start`."""


class CampaignDecision(ContractModel):
    """Updates `pause`, `resume` and `cancel`: optional, who wants it and why."""

    by: Note | None = None
    reason: Note | None = None


class CampaignProgress(OutputModel):
    """Answer to query `progress` and to `pause`, `resume` and `cancel`: where the campaign stands.

    What became of its messages is in Temporal's list: those with this `CampaignId`.
    """

    campaign_id: str
    state: CampaignState
    since: datetime
    rows: int
    dispatched: int
    """Rows whose message has been started."""


class CampaignReport(OutputModel):
    """What became of a campaign: the result of `Campaign`."""

    campaign_id: str
    state: CampaignState
    rows: int
    dispatched: int
    outcomes: dict[Outcome, int]
    """How many of its messages ended so, as far as Temporal's list knew."""
    finished_at: datetime
