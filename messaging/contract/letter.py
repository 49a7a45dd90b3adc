"""What a dead letter takes and tells."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from messaging.contract.message import MessageReport
from messaging.contract.request import MessageRequest
from messaging.contract.words import Contract, LetterEnd, Told
from messaging.fields import MAX_MEDIA, Body, MediaUrl, Note, Recipient, Sender, ZonedTime, problem


class Letter(Told):
    """What `DeadLetter` takes: the message, what became of it and what to do."""

    request: MessageRequest
    report: MessageReport
    sender: str | None = None
    """The sender it was or would have been sent from."""
    action: str
    """What an operator should do."""
    hold_days: Annotated[int, Field(ge=1, le=365)] = 30
    """How long it waits for a decision."""


class Changes(Contract):
    """Fields of the message that a retry replaces; the rest stay as they were."""

    to: Recipient | None = None
    sender: Annotated[Sender | None, Field(alias="from")] = None
    body: Body | None = None
    media_urls: Annotated[tuple[MediaUrl, ...] | None, Field(max_length=MAX_MEDIA)] = None
    expires_at: ZonedTime | None = None


class Resolution(Contract):
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


class LetterReport(Told):
    """How a dead letter ended: the result of `DeadLetter`, and the answer to `resolve`."""

    message_id: str
    end: LetterEnd
    by: str | None = None
    note: str | None = None
    retried_as: str | None = None
    """The new message's id, when it was retried."""


class LetterView(Told):
    """Answer to query `letter`."""

    letter: Letter
    status: str
    """`open`, or how it ended."""
    opened_at: datetime
    held_until: datetime
    late_status: str | None = None
    """What Twilio said after the letter was opened."""
    closed: LetterReport | None = None
