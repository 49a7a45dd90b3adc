"""A dead letter: its input, the update and query it handles, and its report."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from signedfor.contract.base import ContractModel, DeadLetterOutcome, OutputModel, OwnInput
from signedfor.contract.fields import (
    MAX_MEDIA,
    Body,
    Label,
    MediaUrl,
    Note,
    Recipient,
    Sender,
    ZonedTime,
    problem,
)
from signedfor.contract.message import MessageReport, MessageRequest


class DeadLetterRequest(OwnInput):
    """The input of `DeadLetter`: the message, its report, and advice for the operator."""

    message: MessageRequest
    """The message as it was requested."""
    report: MessageReport
    """What became of it."""
    sender: str | None = None
    """The sender it was, or would have been, sent from."""
    advice: str
    """What the operator should do."""
    hold_days: Annotated[int, Field(ge=1, le=365)] = 30
    """How long it waits to be resolved."""


class MessageChanges(ContractModel):
    """Fields of the message that a retry replaces; the others stay the same."""

    to: Recipient | None = None
    """The new recipient."""
    sender: Annotated[Sender | None, Field(alias="from")] = None
    """The new sender."""
    body: Body | None = None
    """The new text."""
    media_urls: Annotated[tuple[MediaUrl, ...] | None, Field(max_length=MAX_MEDIA)] = None
    """The new media."""
    expires_at: ZonedTime | None = None
    """The new time after which it is never submitted."""

    def applied_to(self, message: MessageRequest) -> MessageRequest:
        """The message that a retry sends.

        The first one's `send_at` has passed; its `expires_at` still holds unless it is changed.

        Raises:
            ValidationError: the changes do not fit it.
        """
        fields = message.model_dump(by_alias=False) | {"send_at": None}
        return MessageRequest.model_validate(
            fields | self.model_dump(by_alias=False, exclude_none=True)
        )


class Resolution(ContractModel):
    """Update `resolve`: the operator's decision."""

    action: Literal["retry", "discard"]
    """`retry`: send it as a new message. `discard`: close the dead letter without sending."""
    by: Note | None = None
    """Who decided."""
    note: Note | None = None
    """Why, or what was done instead."""
    changes: MessageChanges | None = None
    """What the new message has in place of the old one's fields; with `retry` only."""
    even_if_taken: bool = False
    """Retry it even if the message may have arrived: Twilio took it, or may have, and has not said
    that it was not delivered. Without this such a retry is refused."""
    job_id: Label | None = None
    """The job that it is part of, if it is one of many."""

    @model_validator(mode="after")
    def _changes_go_with_retry(self) -> Self:
        if self.changes is not None and self.action != "retry":
            raise problem("changes are allowed with action retry only")
        return self


class DeadLetterReport(OutputModel):
    """The result of `DeadLetter`, and the answer to update `resolve`."""

    message_id: str
    """The ID of the message that it was opened for."""
    outcome: DeadLetterOutcome
    """How it was closed."""
    by: str | None = None
    """Who decided, if someone did and said so."""
    note: str | None = None
    """The note of that decision."""
    retried_as: str | None = None
    """The id of the new message, if it was retried."""
    job_id: str | None = None
    """The job that closed it, if it was one of many."""


class DeadLetterDetails(OutputModel):
    """Answer to query `details`."""

    request: DeadLetterRequest
    """The input of the workflow."""
    status: str
    """`open`, or the outcome."""
    opened_at: datetime
    """When it was opened."""
    held_until: datetime
    """When it expires if it is not resolved."""
    late_status: str | None = None
    """The last Twilio status received after it was opened."""
    late_error_code: int | None = None
    """Twilio's error code with that status, if it had one."""
    may_have_arrived: bool = True
    """Whether its message may have reached the recipient, by all that is known now."""
    cancel_requested_at: datetime | None = None
    """When Temporal's own cancellation was last requested. It leaves the dead letter open."""
    result: DeadLetterReport | None = None
    """How it was closed, if it was."""
