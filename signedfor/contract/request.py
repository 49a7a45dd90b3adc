"""What `SendMessage` takes."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Self

from pydantic import Field, ModelWrapValidatorHandler, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

from signedfor.contract.base import ContractModel, OnUnknownOutcome, Priority
from signedfor.contract.fields import (
    MAX_MEDIA,
    Body,
    Label,
    MediaUrl,
    Recipient,
    Sender,
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
    """One message to send: what `SendMessage` takes, as its one argument."""

    to: Recipient
    """Recipient: E.164, or a channel address such as `whatsapp:+15558675309`."""
    sender: Annotated[Sender | None, Field(alias="from")] = None
    """Number, short code, alphanumeric id, channel address or Messaging Service (`MG...`).
    Default: the configured default sender."""
    body: Body | None = None
    """The text, at most 1600 characters. One of body, media_urls and content_sid is needed."""
    media_urls: Annotated[tuple[MediaUrl, ...], Field(max_length=MAX_MEDIA)] = ()
    """Up to ten absolute http or https URLs."""
    content_sid: Annotated[str | None, Field(pattern=r"^HX[0-9a-fA-F]{32}$")] = None
    """A Twilio Content template."""
    content_variables: Annotated[
        dict[Annotated[str, Field(max_length=64)], Body] | None, Field(max_length=100)
    ] = None
    """Values for the template's placeholders."""
    priority: Priority = Priority.NORMAL
    category: Label | None = None
    """Consent scope, such as `marketing`: an opt-out may cover one category only."""
    tenant: Label | None = None
    """Whom it is sent for. Shown in clear in search attributes."""
    send_at: ZonedTime | None = None
    """Not before this time: RFC 3339 with a zone. Default: now."""
    expires_at: ZonedTime | None = None
    """Never submitted after this time: RFC 3339 with a zone. Default: none."""
    send_window: SendWindow | None = None
    """Hours and days on the recipient's clock in which it may be submitted. Default: any time."""
    receipt_timeout_seconds: ReceiptTimeout = 12 * 3600
    """How long to wait for a receipt, in seconds."""
    on_unknown_outcome: OnUnknownOutcome | None = None
    """What to do when it cannot be found out whether Twilio took it. Default: `park` for bulk,
    `resend` otherwise."""
    tags: Tags = Field(max_length=32, default_factory=dict)
    """Your own labels, handed back with the report."""
    campaign_id: Label | None = None
    """The campaign it belongs to. Shown in clear in search attributes."""

    @model_validator(mode="wrap")
    @classmethod
    def _name_every_bad_field(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Rules across fields are checked even when single fields are bad: one round mends all."""
        if not isinstance(data, dict | MessageRequest):
            raise problem("must be a JSON object")
        if isinstance(data, dict):
            # Some clients write every field and null for what they leave out.
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
        """`on_unknown_outcome`, or its default: a bulk message is parked, others are sent again."""
        if self.on_unknown_outcome is not None:
            return self.on_unknown_outcome
        return (
            OnUnknownOutcome.DEAD_LETTER
            if self.priority is Priority.BULK
            else OnUnknownOutcome.RESEND
        )

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
        to, sender = data.to, data.sender
    else:
        fields = data
        to, sender = _addresses(data)
    errors: list[InitErrorDetails] = []
    body = fields.get("body")
    if not (fields.get("media_urls") or fields.get("content_sid")):
        if not body:
            errors.append(_at(problem("one of body, media_urls or content_sid is needed"), "body"))
        elif isinstance(body, str) and not body.strip():
            errors.append(_at(problem("is blank"), "body"))
    if to and sender and not is_messaging_service(sender) and channel_of(to) != channel_of(sender):
        # Twilio refuses the pair (21910). A Messaging Service chooses a sender that fits.
        errors.append(_at(problem("must be on the same channel as to, or MG..."), "from"))
    if fields.get("content_variables") is not None and not fields.get("content_sid"):
        errors.append(_at(problem("needs content_sid beside it"), "content_variables"))
    send_at, expires_at = _time(fields.get("send_at")), _time(fields.get("expires_at"))
    if send_at and expires_at and expires_at <= send_at:
        errors.append(_at(problem("must be later than send_at"), "expires_at"))
    return errors


def _addresses(data: dict[str, Any]) -> tuple[str, str]:
    """Recipient and sender of raw input; empty where they are none."""
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
