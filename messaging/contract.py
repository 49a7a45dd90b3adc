"""What other services rely on: names, ids, inputs and results. Changing any of it breaks somebody.

`docs/contract.md` explains it; the JSON schemas there are generated from these models.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError
from temporalio.common import SearchAttributeKey, WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from messaging.failures import FailureClass
from messaging.fields import (
    MAX_MEDIA,
    Body,
    Label,
    MediaUrl,
    Note,
    Recipient,
    Sender,
    TwilioErrorCode,
    ZonedTime,
    problem,
    zoned_time,
)

SEND_MESSAGE: Final = "SendMessage"
DEAD_LETTER: Final = "DeadLetter"

MESSAGES_QUEUE: Final = "messages"
"""Workflows and bookkeeping."""
TWILIO_SENDS_QUEUE: Final = "twilio-sends"
"""The send activity alone, so that the account-wide ceiling binds nothing else."""

DELIVERY_STATUS_SIGNAL: Final = "delivery_status"
CANCEL_UPDATE: Final = "cancel"
PROGRESS_QUERY: Final = "progress"
RESOLVE_UPDATE: Final = "resolve"
LETTER_QUERY: Final = "letter"

# Start a message with both, and its id is an idempotency key for as long as the namespace keeps
# closed runs: starting it again while it runs or after it ended sends nothing.
START_CONFLICT_POLICY: Final = WorkflowIDConflictPolicy.USE_EXISTING
START_REUSE_POLICY: Final = WorkflowIDReusePolicy.REJECT_DUPLICATE

STATUS_PATH: Final = "/webhook/status"
INBOUND_PATH: Final = "/webhook/inbound"

MESSAGE_STATUS: Final = SearchAttributeKey.for_keyword("MessageStatus")
MESSAGE_SENDER: Final = SearchAttributeKey.for_keyword("MessageSender")
TWILIO_SID: Final = SearchAttributeKey.for_keyword("TwilioSid")
TWILIO_ERROR_CODE: Final = SearchAttributeKey.for_int("TwilioErrorCode")
CAMPAIGN_ID: Final = SearchAttributeKey.for_keyword("CampaignId")
TENANT: Final = SearchAttributeKey.for_keyword("Tenant")
SEARCH_ATTRIBUTES: Final[tuple[SearchAttributeKey[Any], ...]] = (
    MESSAGE_STATUS,
    MESSAGE_SENDER,
    TWILIO_SID,
    TWILIO_ERROR_CODE,
    CAMPAIGN_ID,
    TENANT,
)
"""Registered once a namespace. Stored in clear, so none holds a number or a text."""

OPEN: Final = "open"
"""`MessageStatus` of a dead letter that waits for a decision; afterwards it says how it ended."""

_MESSAGE_PREFIX = "message:"
_LETTER_PREFIX = "dead-letter:"


def message_workflow_id(message_id: str) -> str:
    """The id of the workflow that carries this message."""
    return _MESSAGE_PREFIX + message_id


def dead_letter_workflow_id(message_id: str) -> str:
    """The id of the workflow that holds this message's dead letter."""
    return _LETTER_PREFIX + message_id


def message_id_of(workflow_id: str) -> str:
    """The message id in a message's or dead letter's workflow id; ValueError for any other."""
    for prefix in (_MESSAGE_PREFIX, _LETTER_PREFIX):
        if workflow_id.startswith(prefix) and len(workflow_id) > len(prefix):
            return workflow_id.removeprefix(prefix)
    raise ValueError(f"a message's workflow id must be {_MESSAGE_PREFIX}<message_id>")


class Contract(BaseModel):
    """A model that crosses the border: strict about fields, silent about values."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        serialize_by_alias=True,
        validate_by_alias=True,
        validate_by_name=True,
    )


class Priority(StrEnum):
    """How a message stands among others of its sender."""

    URGENT = "urgent"
    """One-time codes and the like: jumps the sender's queue."""
    NORMAL = "normal"
    BULK = "bulk"

    @property
    def temporal_key(self) -> int:
        """Temporal's priority key, 1 being served first."""
        return {Priority.URGENT: 1, Priority.NORMAL: 3, Priority.BULK: 5}[self]


class IfUnknown(StrEnum):
    """What to do when it cannot be found out whether Twilio took a message."""

    RESEND = "resend"
    PARK = "park"


class Outcome(StrEnum):
    """How a message ended."""

    DELIVERED = "delivered"
    """The carrier confirmed delivery (WhatsApp and RCS: also read)."""
    UNCONFIRMED = "unconfirmed"
    """Twilio took it, or may have; no receipt came in time."""
    UNDELIVERED = "undelivered"
    """Carrier or Twilio refused it after acceptance."""
    FAILED = "failed"
    """Twilio would not take it, or retries ran out."""
    SUPPRESSED = "suppressed"
    """Recipient opted out or known undeliverable; nothing was submitted."""
    EXPIRED = "expired"
    """Its time passed before it could be submitted."""
    CANCELED = "canceled"
    """Canceled before submission."""


class Stage(StrEnum):
    """Where a running message stands; `MessageStatus` holds this, then the outcome."""

    SENDING = "sending"
    """Being checked and submitted; normally well under a second."""
    SCHEDULED = "scheduled"
    """Waits for its `send_at`."""
    WAITING = "waiting"
    """Waits for its sender's next slot, or for the database to answer."""
    RETRYING = "retrying"
    """Twilio could not take it yet; tried again under the retry policy."""
    RESOLVING = "resolving"
    """It is not known whether Twilio took it; being found out."""
    AWAITING_RECEIPT = "awaiting_receipt"
    """Twilio took it; a receipt is awaited."""
    DELAYED = "delayed"
    """Not delivered for a passing reason; waits to be tried again as a new message."""


class MessageRequest(Contract):
    """One message to send: what `SendMessage` takes, as its one argument."""

    to: Recipient
    sender: Annotated[Sender | None, Field(alias="from")] = None
    body: Body | None = None
    media_urls: Annotated[tuple[MediaUrl, ...], Field(max_length=MAX_MEDIA)] = ()
    content_sid: Annotated[str | None, Field(pattern=r"^HX[0-9a-fA-F]{32}$")] = None
    content_variables: Annotated[
        dict[Annotated[str, Field(max_length=64)], Body] | None, Field(max_length=100)
    ] = None
    priority: Priority = Priority.NORMAL
    category: Label | None = None
    tenant: Label | None = None
    send_at: ZonedTime | None = None
    expires_at: ZonedTime | None = None
    receipt_timeout_seconds: Annotated[int, Field(strict=True, ge=1, le=7 * 86_400)] = 12 * 3600
    if_unknown: IfUnknown | None = None
    tags: Annotated[
        dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=256)]],
        Field(max_length=32),
    ] = {}

    @model_validator(mode="wrap")
    @classmethod
    def _name_every_bad_field(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Rules across fields are checked even when single fields are bad: one round mends all."""
        if not isinstance(data, dict | MessageRequest):
            raise problem("must be a JSON object")
        errors: list[InitErrorDetails] = []
        try:
            request = handler(data)
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False, include_context=False)
            errors = [_at(problem(each["msg"]), *each["loc"]) for each in found]
            errors += _across_fields(data)
        else:
            errors = _across_fields(request)
            if not errors:
                return request
        raise ValidationError.from_exception_data(cls.__name__, errors, hide_input=True)

    @property
    def unknown_policy(self) -> IfUnknown:
        """`if_unknown`, or its default: a bulk message is parked, others are sent again."""
        if self.if_unknown is not None:
            return self.if_unknown
        return IfUnknown.PARK if self.priority is Priority.BULK else IfUnknown.RESEND

    @property
    def receipt_timeout(self) -> timedelta:
        """How long to wait for a receipt."""
        return timedelta(seconds=self.receipt_timeout_seconds)


def _at(error: PydanticCustomError, *loc: str | int) -> InitErrorDetails:
    return InitErrorDetails(type=error, loc=loc, input=None)


def _across_fields(data: "dict[str, Any] | MessageRequest") -> list[InitErrorDetails]:
    """What is wrong between fields, in raw input as well as in a request that validated."""
    if isinstance(data, MessageRequest):
        fields: dict[str, Any] = dict(data)
    else:
        fields = data
    errors: list[InitErrorDetails] = []
    body = fields.get("body")
    if not (fields.get("media_urls") or fields.get("content_sid")):
        if not body:
            errors.append(_at(problem("one of body, media_urls or content_sid is needed"), "body"))
        elif isinstance(body, str) and not body.strip():
            errors.append(_at(problem("is blank"), "body"))
    if fields.get("content_variables") is not None and not fields.get("content_sid"):
        errors.append(_at(problem("needs content_sid beside it"), "content_variables"))
    send_at, expires_at = _time(fields.get("send_at")), _time(fields.get("expires_at"))
    if send_at and expires_at and expires_at <= send_at:
        errors.append(_at(problem("must be later than send_at"), "expires_at"))
    return errors


def _time(value: Any) -> datetime | None:
    try:
        return zoned_time(value)
    except PydanticCustomError:
        return None


class DeliveryStatus(Contract):
    """Signal `delivery_status`: what a status callback said. The webhook sends it."""

    model_config = ConfigDict(extra="ignore")  # a newer webhook may say more to an older worker

    message_sid: Annotated[str, Field(pattern=r"^(SM|MM)[0-9a-fA-F]{32}$")]
    message_status: Annotated[str, Field(min_length=1, max_length=40)]
    """Twilio's word; one we do not know is kept and does no harm."""
    error_code: TwilioErrorCode | None = None
    received_at: ZonedTime | None = None


class CancelRequest(Contract):
    """Update `cancel`: optional, who wants it and why."""

    by: Note | None = None
    reason: Note | None = None


class CancelResult(Contract):
    """Answer to `cancel`: whether the message was stopped, and how it stands if it was not."""

    canceled: bool
    status: str
    """A `Stage` or an `Outcome`."""


class Progress(Contract):
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
    twilio_status: str | None = None
    error_code: int | None = None
    attempts: int = 0


class MessageReport(Contract):
    """What became of a message: the result of `SendMessage`."""

    message_id: str
    outcome: Outcome
    message_sid: str | None = None
    error_code: int | None = None
    failure_class: FailureClass | None = None
    reason: str
    """One plain sentence, without numbers or text of the message."""
    attempts: int
    """How many times a POST to Twilio was begun, as far as is known."""
    segments: int
    submitted_at: datetime | None = None
    settled_at: datetime
    dead_letter_id: str | None = None
    """Workflow id of the dead letter, if one was opened."""
    tags: dict[str, str]


class Letter(Contract):
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


class LetterEnd(StrEnum):
    """How a dead letter was closed."""

    RECORDED = "recorded"
    """A suppression was recorded; nobody had to decide."""
    RETRIED = "retried"
    DISCARDED = "discarded"
    DELIVERED_LATE = "delivered_late"
    """A late receipt said delivered."""
    LAPSED = "lapsed"
    """Nobody decided while it was held."""


class LetterReport(Contract):
    """How a dead letter ended: the result of `DeadLetter`, and the answer to `resolve`."""

    message_id: str
    end: LetterEnd
    by: str | None = None
    note: str | None = None
    retried_as: str | None = None
    """The new message's id, when it was retried."""


class LetterView(Contract):
    """Answer to query `letter`."""

    letter: Letter
    status: str
    """`open`, or how it ended."""
    opened_at: datetime
    held_until: datetime
    late_status: str | None = None
    """What Twilio said after the letter was opened."""
    closed: LetterReport | None = None
