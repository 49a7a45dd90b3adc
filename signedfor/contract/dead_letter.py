"""What a dead letter takes and tells."""

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
from signedfor.contract.message import MessageReport
from signedfor.contract.request import MessageRequest


class DeadLetterRequest(OutputModel):
    """What `DeadLetter` takes: the message, what became of it and what to do."""

    request: MessageRequest
    report: MessageReport
    sender: str | None = None
    """The sender it was or would have been sent from."""
    action: str
    """What an operator should do."""
    hold_days: Annotated[int, Field(ge=1, le=365)] = 30
    """How long it waits for a decision."""


class Changes(ContractModel):
    """Fields of the message that a retry replaces; the rest stay as they were."""

    to: Recipient | None = None
    sender: Annotated[Sender | None, Field(alias="from")] = None
    body: Body | None = None
    media_urls: Annotated[tuple[MediaUrl, ...] | None, Field(max_length=MAX_MEDIA)] = None
    expires_at: ZonedTime | None = None


class Resolution(ContractModel):
    """Update `resolve`: what the operator decided."""

    action: Literal["retry", "discard"]
    by: Note | None = None
    note: Note | None = None
    changes: Changes | None = None

    @model_validator(mode="after")
    def _changes_go_with_retry(self) -> Self:
        if self.changes is not None and self.action != "retry":
            raise problem("changes go with action retry only")
        return self


class DeadLetterReport(OutputModel):
    """How a dead letter ended: the result of `DeadLetter`, and the answer to `resolve`."""

    message_id: str
    end: DeadLetterOutcome
    by: str | None = None
    note: str | None = None
    retried_as: str | None = None
    """The new message's id, when it was retried."""


class DeadLetterDetails(OutputModel):
    """Answer to query `letter`."""

    letter: DeadLetterRequest
    status: str
    """`open`, or how it ended."""
    opened_at: datetime
    held_until: datetime
    late_status: str | None = None
    """What Twilio said after the letter was opened."""
    closed: DeadLetterReport | None = None
