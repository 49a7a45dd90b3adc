"""What a campaign takes and tells."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from messaging.contract.request import ReceiptTimeout, Tags
from messaging.contract.window import SendWindow
from messaging.contract.words import Contract, IfUnknown, Outcome, Priority, Told
from messaging.fields import MAX_MEDIA, Body, Label, MediaUrl, Note, Sender, ZonedTime


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


class CampaignMessage(Contract):
    """What all messages of a campaign have in common; `body` has `{fields}` for each row's own."""

    sender: Annotated[Sender, Field(alias="from")]
    body: Body
    media_urls: Annotated[tuple[MediaUrl, ...], Field(max_length=MAX_MEDIA)] = ()
    priority: Priority = Priority.BULK
    category: Label | None = None
    tenant: Label | None = None
    expires_at: ZonedTime | None = None
    send_window: SendWindow | None = None
    receipt_timeout_seconds: ReceiptTimeout = 12 * 3600
    if_unknown: IfUnknown | None = None
    tags: Tags = Field(max_length=32, default_factory=dict)


class CampaignRequest(Contract):
    """What `Campaign` takes. Its message and rows are in the database: see `campaign start`."""

    after_row: Annotated[int, Field(ge=0)] = 0
    """The last row that was handed over already; the workflow sets it when it continues as new."""
    left_out: Annotated[int, Field(ge=0)] = 0
    """Rows up to there of which no message could be made; the workflow sets it likewise."""


class CampaignDecision(Contract):
    """Updates `pause`, `resume` and `cancel`: optional, who wants it and why."""

    by: Note | None = None
    reason: Note | None = None


class CampaignProgress(Told):
    """Answer to query `progress` and to `pause`, `resume` and `cancel`: where the campaign stands.

    What became of its messages is in Temporal's list: those with this `CampaignId`.
    """

    campaign_id: str
    state: CampaignState
    since: datetime
    rows: int
    handed_over: int
    """Rows whose message has been started."""


class CampaignReport(Told):
    """What became of a campaign: the result of `Campaign`."""

    campaign_id: str
    state: CampaignState
    rows: int
    handed_over: int
    outcomes: dict[Outcome, int]
    """How many of its messages ended so, as far as Temporal's list knew."""
    finished_at: datetime
