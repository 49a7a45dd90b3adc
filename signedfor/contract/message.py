"""What a running message takes and tells: signal, update, query and report."""

from datetime import datetime
from typing import Annotated

from pydantic import ConfigDict, Field

from signedfor.contract.base import ContractModel, Outcome, OutputModel
from signedfor.contract.failures import FailureClass
from signedfor.contract.fields import Note, TwilioErrorCode, ZonedTime


class DeliveryStatus(ContractModel):
    """Signal `delivery_status`: what a status callback said. The webhook sends it."""

    model_config = ConfigDict(extra="ignore")  # a newer webhook may say more to an older worker

    message_sid: Annotated[str, Field(pattern=r"^(SM|MM)[0-9a-fA-F]{32}$")]
    message_status: Annotated[str, Field(min_length=1, max_length=40)]
    """Twilio's word; one we do not know is kept and does no harm."""
    error_code: TwilioErrorCode | None = None
    received_at: ZonedTime | None = None


class CancelRequest(ContractModel):
    """Update `cancel`: optional, who wants it and why."""

    by: Note | None = None
    reason: Note | None = None


class CancelResult(OutputModel):
    """Answer to `cancel`: whether the message was stopped, and how it stands if it was not."""

    canceled: bool
    status: str
    """A `Stage` or an `Outcome`."""


class Progress(OutputModel):
    """Answer to query `progress`: where the message stands."""

    message_id: str
    status: str
    """A `Stage` while it runs, then the `Outcome`."""
    since: datetime
    waiting_for: str
    until: datetime | None = None
    """When the present wait ends by itself."""
    sender: str | None = None
    message_sid: str | None = None
    message_sids: tuple[str, ...] = ()
    """Every SID it has had: one for each time it was submitted anew."""
    twilio_status: str | None = None
    error_code: int | None = None
    attempts: int = 0
    unknown_statuses: tuple[str, ...] = ()
    """What Twilio said in words that we do not know."""


class MessageReport(OutputModel):
    """What became of a message: the result of `SendMessage`."""

    message_id: str
    outcome: Outcome
    message_sid: str | None = None
    error_code: int | None = None
    failure_class: FailureClass | None = None
    reason: str
    """One plain sentence, without numbers or text of the message."""
    attempts: int
    """How many times submission was tried, each with at most one POST."""
    segments: int
    submitted_at: datetime | None = None
    finished_at: datetime
    dead_letter_id: str | None = None
    """Workflow id of the dead letter, if one was opened."""
    tags: dict[str, str]
