"""A dead letter: its input, the update and query it handles, and its report."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from signedfor.contract.base import ContractModel, DeadLetterOutcome, OutputModel
from signedfor.contract.fields import (
    MAX_MEDIA,
    Body,
    MediaUrl,
    Note,
    Recipient,
    Sender,
    ZonedTime,
    problem,
)
from signedfor.contract.message import MessageReport, MessageRequest


class DeadLetterRequest(OutputModel):
    """The input of `DeadLetter`: the message, its report, and advice for the operator."""

    message: MessageRequest
    report: MessageReport
    sender: str | None = None
    """The sender it was, or would have been, sent from."""
    advice: str
    """What the operator should do."""
    hold_days: Annotated[int, Field(ge=1, le=365)] = 30
    """How long it waits to be resolved."""


class MessageChanges(ContractModel):
    """Fields of the message that a retry replaces; the others stay the same."""

    to: Recipient | None = None
    sender: Annotated[Sender | None, Field(alias="from")] = None
    body: Body | None = None
    media_urls: Annotated[tuple[MediaUrl, ...] | None, Field(max_length=MAX_MEDIA)] = None
    expires_at: ZonedTime | None = None


class Resolution(ContractModel):
    """Update `resolve`: the operator's decision."""

    action: Literal["retry", "discard"]
    by: Note | None = None
    note: Note | None = None
    changes: MessageChanges | None = None

    @model_validator(mode="after")
    def _changes_go_with_retry(self) -> Self:
        if self.changes is not None and self.action != "retry":
            raise problem("changes are allowed with action retry only")
        return self


class DeadLetterReport(OutputModel):
    """The result of `DeadLetter`, and the answer to update `resolve`."""

    message_id: str
    outcome: DeadLetterOutcome
    by: str | None = None
    note: str | None = None
    retried_as: str | None = None
    """The id of the new message, if it was retried."""


class DeadLetterDetails(OutputModel):
    """Answer to query `details`."""

    request: DeadLetterRequest
    status: str
    """`open`, or the outcome."""
    opened_at: datetime
    held_until: datetime
    late_status: str | None = None
    """The last Twilio status received after it was opened."""
    result: DeadLetterReport | None = None
