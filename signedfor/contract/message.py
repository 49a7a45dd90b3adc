"""A message: what `SendMessage` takes, the signal, update and query it handles, and its report."""

from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Self

from pydantic import ConfigDict, Field, ModelWrapValidatorHandler, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

from signedfor.contract.base import ContractModel, OnUnknownOutcome, Outcome, OutputModel, Priority
from signedfor.contract.failures import FailureClass
from signedfor.contract.fields import (
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
from signedfor.contract.send_window import SendWindow
from signedfor.twilio.phone import (
    InvalidAddress,
    channel_of,
    is_messaging_service,
    normalize_recipient,
    normalize_sender,
)

ReceiptTimeout = Annotated[int, Field(strict=True, ge=1, le=7 * 86_400)]
Tags = dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=256)]]


class MessageRequest(ContractModel):
    """A message to send: the one argument of `SendMessage`."""

    to: Recipient
    """The recipient: E.164, or a channel address such as `whatsapp:+15558675309`."""
    sender: Annotated[Sender | None, Field(alias="from")] = None
    """A number, short code, alphanumeric sender id, channel address or Messaging Service
    (`MG...`). Default: the workers' `DEFAULT_SENDER`."""
    body: Body | None = None
    """The text, at most 1600 characters. One of body, media_urls and content_sid is required."""
    media_urls: Annotated[tuple[MediaUrl, ...], Field(max_length=MAX_MEDIA)] = ()
    """Up to ten absolute http or https URLs."""
    content_sid: Annotated[str | None, Field(pattern=r"^HX[0-9a-fA-F]{32}$")] = None
    """A Twilio Content template."""
    content_variables: Annotated[
        dict[Annotated[str, Field(max_length=64)], Body] | None, Field(max_length=100)
    ] = None
    """Values for the variables of the Content template."""
    priority: Priority = Priority.NORMAL
    """The order among messages of the same sender."""
    category: Label | None = None
    """The consent category, such as `marketing`: an opt-out may cover one category only."""
    tenant: Label | None = None
    """The customer or department it is sent for. Search attributes show it in clear."""
    send_at: ZonedTime | None = None
    """Not submitted before this time: RFC 3339 with a zone. Default: now."""
    expires_at: ZonedTime | None = None
    """Never submitted after this time: RFC 3339 with a zone. Default: none."""
    send_window: SendWindow | None = None
    """Local hours and days in which it may be submitted. Default: any time."""
    receipt_timeout_seconds: ReceiptTimeout = 12 * 3600
    """How long to wait for the delivery receipt, in seconds."""
    on_unknown_outcome: OnUnknownOutcome | None = None
    """What to do when it remains unknown whether Twilio accepted it. Default: `dead_letter` for
    bulk, `resend` otherwise."""
    tags: Tags = Field(max_length=32, default_factory=dict)
    """Your own labels, returned in the report."""
    campaign_id: Label | None = None
    """The campaign it belongs to. Search attributes show it in clear."""

    @model_validator(mode="wrap")
    @classmethod
    def _name_every_bad_field(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Check rules across fields even if fields are bad: report all problems at once."""
        if not isinstance(data, dict | MessageRequest):
            raise problem("must be a JSON object")
        if isinstance(data, dict):
            # Some clients send null for the fields that they leave out.
            data = {name: value for name, value in data.items() if value is not None}
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
    def unknown_outcome_policy(self) -> OnUnknownOutcome:
        """`on_unknown_outcome`, or its default for this priority."""
        if self.on_unknown_outcome is not None:
            return self.on_unknown_outcome
        return (
            OnUnknownOutcome.DEAD_LETTER
            if self.priority is Priority.BULK
            else OnUnknownOutcome.RESEND
        )

    @property
    def receipt_timeout(self) -> timedelta:
        """How long to wait for the delivery receipt."""
        return timedelta(seconds=self.receipt_timeout_seconds)


class DeliveryStatus(ContractModel):
    """Signal `delivery_status`: a status callback, sent by the webhook."""

    is_signal: ClassVar[bool] = True

    model_config = ConfigDict(extra="ignore")  # a newer webhook may send more to an older worker

    message_sid: Annotated[str, Field(pattern=r"^(SM|MM)[0-9a-fA-F]{32}$")]
    """The SID of the Twilio message that it is about."""
    message_status: Annotated[str, Field(min_length=1, max_length=40)]
    """As Twilio sent it; an unknown status is recorded and otherwise ignored."""
    error_code: TwilioErrorCode | None = None
    """Twilio's code, if the callback had one."""
    received_at: ZonedTime | None = None
    """When the webhook received it."""


class CancelRequest(ContractModel):
    """Update `cancel`: optionally, who requested it and why."""

    by: Note | None = None
    """Who requested it. Recorded in the workflow's history only."""
    reason: Note | None = None
    """Why. Recorded in the workflow's history only."""


class CancelResult(OutputModel):
    """Answer to update `cancel`: whether the message was canceled, and its status."""

    canceled: bool
    """Whether it was canceled. If not, Twilio has it or may have it, or it had ended before."""
    status: str
    """A `Stage` or an `Outcome`."""


class Progress(OutputModel):
    """Answer to query `progress`."""

    message_id: str
    """The message ID."""
    status: str
    """A `Stage` while it runs, then the `Outcome`."""
    since: datetime
    """When it entered this status."""
    waiting_for: str
    """What it waits for, in a few words for people."""
    until: datetime | None = None
    """When the current wait times out."""
    sender: str | None = None
    """What it is sent from; a phone number is masked."""
    message_sid: str | None = None
    """The SID of its newest submission, once it is known."""
    message_sids: tuple[str, ...] = ()
    """All its SIDs: one for each submission that Twilio accepted."""
    twilio_status: str | None = None
    """The last status that Twilio sent."""
    error_code: int | None = None
    """The last error code that Twilio sent."""
    attempts: int = 0
    """How many submissions were attempted so far."""
    unknown_statuses: tuple[str, ...] = ()
    """Twilio statuses that are not known to this version."""


class MessageReport(OutputModel):
    """The result of `SendMessage`."""

    message_id: str
    """The message ID."""
    outcome: Outcome
    """How the message ended."""
    message_sid: str | None = None
    """The SID of the Twilio message, if there is one."""
    error_code: int | None = None
    """Twilio's code for the failure, if it sent one."""
    failure_class: FailureClass | None = None
    """The kind of failure, if there was one."""
    reason: str
    """One sentence for people, without phone numbers or message text."""
    attempts: int
    """How many submissions were attempted, each with at most one POST."""
    segments: int
    """How many segments its text has: Twilio's count, or ours where Twilio gave none."""
    submitted_at: datetime | None = None
    """When Twilio accepted it, or when that was found out."""
    finished_at: datetime
    """When the message ended."""
    dead_letter_id: str | None = None
    """The workflow id of the dead letter, if one was opened."""
    tags: dict[str, str]
    """The `tags` of the request."""


def _at(error: PydanticCustomError, *loc: str | int) -> InitErrorDetails:
    return InitErrorDetails(type=error, loc=loc, input=None)


def _across_fields(data: "dict[str, Any] | MessageRequest") -> list[InitErrorDetails]:
    """Problems across fields, in raw input or in a validated request."""
    if isinstance(data, MessageRequest):
        fields: dict[str, Any] = vars(data)
        to, sender = data.to, data.sender
    else:
        fields = data
        to, sender = _addresses(data)
    errors: list[InitErrorDetails] = []
    body = fields.get("body")
    if not (fields.get("media_urls") or fields.get("content_sid")):
        if not body:
            errors.append(
                _at(problem("one of body, media_urls or content_sid is required"), "body")
            )
        elif isinstance(body, str) and not body.strip():
            errors.append(_at(problem("is blank"), "body"))
    if to and sender and not is_messaging_service(sender) and channel_of(to) != channel_of(sender):
        # Twilio rejects the pair (21910). A Messaging Service picks a sender of the right channel.
        errors.append(
            _at(
                problem("must be on the same channel as to, or a Messaging Service (MG...)"), "from"
            )
        )
    if fields.get("content_variables") is not None and not fields.get("content_sid"):
        errors.append(_at(problem("requires content_sid"), "content_variables"))
    send_at, expires_at = _time(fields.get("send_at")), _time(fields.get("expires_at"))
    if send_at and expires_at and expires_at <= send_at:
        errors.append(_at(problem("must be later than send_at"), "expires_at"))
    return errors


def _addresses(data: dict[str, Any]) -> tuple[str, str]:
    """The normalized recipient and sender in raw input; empty if they are invalid."""
    try:
        sender = data["from"] if "from" in data else data["sender"]
        return normalize_recipient(data["to"]), normalize_sender(sender)
    except (KeyError, TypeError, AttributeError, InvalidAddress):
        return "", ""


def _time(value: Any) -> datetime | None:
    try:
        return zoned_time(value)
    except PydanticCustomError:
        return None
