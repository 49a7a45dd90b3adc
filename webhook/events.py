"""`POST /webhook/events`: Twilio Event Streams, a second channel for what the callbacks may lose.

Twilio repeats an event for up to four hours, also after it was delivered, and in any order. It
repeats a batch only after a 5xx, a timeout or without a connection; any 4xx drops it. So a batch
gets a 503 if one of its events could not be stored, and an event that can never be used gets none.
"""

import asyncio
import contextlib
import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from signedfor.contract import DeliveryStatus
from signedfor.contract.fields import (
    MessageId,
    Recipient,
    TwilioErrorCode,
    ZonedTime,
    problems_in,
)
from signedfor.logging import RateLimitedLogger, log_unexpected
from signedfor.masks import contains_number_of
from signedfor.store.database import DatabaseUnavailable
from signedfor.store.reassignments import Reassignment, Reassignments
from signedfor.twilio.classifier import classify_inbound
from signedfor.twilio.phone import InvalidAddress, normalize_sender
from webhook import inbound, status
from webhook.body import CLOSE, DecodeError, decode_events, decode_form
from webhook.inbound import InboundCallback, InboundEndpoint
from webhook.metrics import Metrics
from webhook.resilience import DatabaseThreads
from webhook.signature import MESSAGE_ID, Verifier
from webhook.status import StatusEndpoint

_log = logging.getLogger(__name__)

MAX_BATCH_BYTES: Final = 1_048_576
"""An event has about a kilobyte. Twilio's documentation once named 64 kB, now it has no limit."""
MAX_BATCHES: Final = 8
"""At a time; further ones are answered 503 unread, which bounds the memory for their bodies."""
_CONCURRENCY = 20
"""Events of one batch."""

_STATUS_PREFIX = "com.twilio.messaging.message."
_INBOUND = "com.twilio.messaging.inbound-message.received"
_REASSIGNED = "com.twilio.messaging.reassigned-number.detected"
_ACCOUNT_IN_SOURCE = re.compile(r"/Accounts/(AC[0-9a-fA-F]{32})(?:/|\.|$)")

_message_id = TypeAdapter(MessageId)
_zoned_time = TypeAdapter(ZonedTime)
_Model = TypeVar("_Model", bound=BaseModel)


class EventType(StrEnum):
    """The types of events that mean something here."""

    INBOUND = "inbound"
    REASSIGNED_NUMBER = "reassigned_number"
    STATUS = "status"
    OTHER = "other"

    @classmethod
    def of(cls, name: str) -> "EventType":
        """The type by Twilio's name."""
        if name.startswith(_STATUS_PREFIX):
            return cls.STATUS
        return {_INBOUND: cls.INBOUND, _REASSIGNED: cls.REASSIGNED_NUMBER}.get(name, cls.OTHER)


class Result(StrEnum):
    """What became of an event, besides what becomes of a status callback or inbound message."""

    RECORDED = "recorded"
    """The reassigned number is suppressed."""
    DUPLICATE = "duplicate"
    """It was recorded before, or the number has opted in since."""
    NOT_OURS = "not_ours"
    """A status of a message with another callback URL than ours."""
    NO_CALLBACK_URL = "no_callback_url"
    """A status that does not tell its message's callback URL, which ours all have."""
    OTHER_ACCOUNT = "other_account"
    IGNORED = "ignored"
    """Its type means nothing here."""
    INVALID = "invalid"
    """It cannot be used, now or later; the log names the field."""
    UNAVAILABLE = "unavailable"
    """It could not be stored; Twilio is asked to send the batch again."""


class InvalidEvent(ValueError):
    """The event cannot be used; the text names the field and repeats no value."""


class Event(BaseModel):
    """A CloudEvent, with the fields used of its envelope."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    type_: Annotated[str, Field(alias="type")]
    source: Any = None
    time: Any = None
    data: dict[str, Any] = Field(repr=False)

    @property
    def account_sid(self) -> str | None:
        """The account it belongs to, if it says so; inbound messages do not always."""
        for name in ("accountSid", "account_sid"):
            if self.data.get(name):
                return str(self.data[name])
        found = _ACCOUNT_IN_SOURCE.search(str(self.source))
        return found[1] if found else None

    def at(self, *names: str) -> datetime | None:
        """The first of these times in its data that is valid, or else the envelope's.

        An event must not be lost because of its time: None means that it has no valid one.
        """
        for value in (*(self.data.get(name) for name in names), self.time):
            try:
                return _zoned_time.validate_python(value)
            except ValidationError:
                continue
        return None

    def read(self, model: type[_Model]) -> _Model:
        """The fields of its data that `model` has; a blank one counts as absent.

        An event has the fields of a callback in camel case: `messageSid` for `MessageSid`.

        Raises:
            InvalidEvent: names each bad field, never its value.
        """
        names = [field.alias or name for name, field in model.model_fields.items()]
        values = {name: _text(self.data.get(name[0].lower() + name[1:])) for name in names}
        return _validated(
            model, {name: value for name, value in values.items() if value not in (None, "")}
        )


class StatusEvent(BaseModel):
    """The fields used of a message's status, by Twilio's names."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    message_sid: Annotated[str, Field(alias="messageSid", pattern=r"^(SM|MM)[0-9a-fA-F]{32}$")]
    message_status: Annotated[str, Field(alias="messageStatus", pattern=r"^[!-~]{1,40}$")]
    error_code: Annotated[TwilioErrorCode | None, Field(alias="errorCode")] = None
    callback_url: Annotated[str | None, Field(alias="statusCallBackUrl", repr=False)] = None
    to: Annotated[str | None, Field(repr=False)] = None

    def delivery_status(self) -> DeliveryStatus:
        """The signal for the workflow."""
        return DeliveryStatus(
            message_sid=self.message_sid,
            # Callbacks have it in lower case, events in upper case.
            message_status=self.message_status.lower(),
            error_code=self.error_code,
            received_at=datetime.now(UTC),
        )


class ReassignedNumber(BaseModel):
    """The fields used of a reassigned number, by Twilio's names."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    event_id: Annotated[str, Field(pattern=r"^[0-9A-Za-z_-]{1,100}$")]
    to_number: Annotated[Recipient, Field(repr=False)]
    from_number: Annotated[str, Field(repr=False)] = ""
    is_reassigned: bool
    last_verified_date: str = ""

    def reassignment(self, at: datetime | None) -> Reassignment:
        """What to record."""
        evidence = f"a reassigned number, event {self.event_id}"
        with contextlib.suppress(ValueError):
            evidence += f", last verified {date.fromisoformat(self.last_verified_date)}"
        try:
            sender = normalize_sender(self.from_number)
        except InvalidAddress:
            sender = ""
        return Reassignment(recipient=self.to_number, sender=sender, at=at, evidence=evidence)


class EventsEndpoint:
    """Answers 204 if each event of the batch is safe or of no use, else 503.

    Statuses and inbound messages take the same path as those of the callbacks, which makes them
    idempotent with these.
    """

    def __init__(
        self,
        *,
        verify: Verifier,
        status: StatusEndpoint,
        inbound: InboundEndpoint,
        reassignments: Reassignments,
        threads: DatabaseThreads,
        metrics: Metrics,
        account_sid: str,
        status_url: str,
    ) -> None:
        self._verify = verify
        self._status = status
        self._inbound = inbound
        self._reassignments = reassignments
        self._threads = threads
        self._metrics = metrics
        self._account_sid = account_sid
        self._status_url = status_url
        self._batches = asyncio.Semaphore(MAX_BATCHES)
        self._warnings = {result: RateLimitedLogger(_log) for result in Result}

    async def receive(self, request: Request) -> Response:
        """Verify the batch and process each of its events, inbound messages first."""
        if self._batches.locked():
            raise HTTPException(503, "Too many batches at once, please try again.", CLOSE)
        async with self._batches:
            results = await self._process(_events_in(await self._read(request)))
        if results[Result.UNAVAILABLE]:
            raise HTTPException(503, "Not all is stored yet, please try again.")
        return Response(status_code=204)

    async def _read(self, request: Request) -> bytes:
        try:
            return await self._verify.json_body(request, max_bytes=MAX_BATCH_BYTES)
        except HTTPException as error:
            if error.status_code == 408:  # noqa: PLR2004 - a 4xx would drop the batch
                raise HTTPException(503, error.detail, CLOSE) from None
            raise

    async def _process(self, events: Sequence[Any]) -> Counter[str]:
        limit = asyncio.Semaphore(_CONCURRENCY)

        async def process(event: Any) -> str:
            async with limit:
                type_, result = await self._process_one(event)
            self._metrics.events.labels(type_, result).inc()
            return result

        # A STOP must not wait behind statuses.
        ordered = sorted(events, key=lambda each: not _is_inbound(each))
        return Counter(await asyncio.gather(*(process(each) for each in ordered)))

    async def _process_one(self, document: Any) -> tuple[EventType, str]:
        type_ = EventType.OTHER
        try:
            event = _validated(Event, document)
            type_ = EventType.of(event.type_)
            if event.account_sid not in {None, self._account_sid}:
                self._warnings[Result.OTHER_ACCOUNT].warning(
                    "An event was skipped: it belongs to another account."
                )
                return type_, Result.OTHER_ACCOUNT
            match type_:
                case EventType.STATUS:
                    return type_, await self._process_status(event)
                case EventType.INBOUND:
                    return type_, await self._process_inbound(event)
                case EventType.REASSIGNED_NUMBER:
                    return type_, await self._process_reassigned(event)
                case EventType.OTHER:
                    return type_, Result.IGNORED
        except InvalidEvent as error:
            self._warnings[Result.INVALID].warning("An event was skipped (%s): %s.", type_, error)
            return type_, Result.INVALID
        except Exception as error:  # noqa: BLE001 - one event must not keep back the others
            log_unexpected(_log, error)
            return type_, Result.UNAVAILABLE

    async def _process_status(self, event: Event) -> status.Result | Result:
        received = event.read(StatusEvent)
        if received.callback_url is None:
            return Result.NO_CALLBACK_URL
        # Each message of ours has such a URL, with its id. The account may have other messages.
        url, _, query = received.callback_url.partition("?")
        if url != self._status_url:
            return Result.NOT_OURS
        message_id = _message_id_in(query)
        if received.to is not None and contains_number_of(message_id, received.to):
            raise InvalidEvent(f"statusCallBackUrl: its {MESSAGE_ID} has the recipient's number")
        return await self._status.accept(message_id, received.delivery_status())

    async def _process_inbound(self, event: Event) -> inbound.Result:
        message = event.read(InboundCallback)
        kind = classify_inbound(message.body, message.opt_out_type)
        record = message.record(kind, ())  # events have no media URLs
        # The event may come hours after the message, and after later ones.
        at = event.at("timestamp")
        return await self._inbound.store(record.model_copy(update={"received_at": at}))

    async def _process_reassigned(self, event: Event) -> Result:
        number = event.read(ReassignedNumber)
        if not number.is_reassigned:
            return Result.IGNORED
        reassignment = number.reassignment(event.at("consent_updated_at", "timestamp"))
        try:
            is_new = await self._threads.run(self._reassignments.receive, reassignment)
        except DatabaseUnavailable as error:
            self._warnings[Result.UNAVAILABLE].warning(
                "A reassigned number is not recorded: %s Twilio is asked to try again.", error
            )
            return Result.UNAVAILABLE
        return Result.RECORDED if is_new else Result.DUPLICATE


def _events_in(body: bytes) -> list[Any]:
    try:
        return decode_events(body)
    except DecodeError as error:
        raise HTTPException(400, f"The body {error}.") from None


def _is_inbound(document: Any) -> bool:
    return isinstance(document, Mapping) and document.get("type") == _INBOUND


def _validated(model: type[_Model], document: Any) -> _Model:
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise InvalidEvent(
            "; ".join(f"{field}: {what}" for field, what in problems_in(error))
        ) from None


def _message_id_in(query: str) -> str:
    """The message id in the query of a callback URL of ours, whose fragment may follow.

    Raises:
        InvalidEvent: there is none.
    """
    try:
        ids = decode_form(query.partition("#")[0].encode()).getlist(MESSAGE_ID)
        return _message_id.validate_python(ids[0] if len(ids) == 1 else None)
    except ValueError:  # a ValidationError or DecodeError too
        raise InvalidEvent(f"statusCallBackUrl: has no valid {MESSAGE_ID}") from None


def _text(value: Any) -> Any:
    """Without halves of surrogate pairs: they cannot be stored, and a STOP must not be lost."""
    return value.encode(errors="replace").decode() if isinstance(value, str) else value
