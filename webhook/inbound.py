"""`POST /webhook/inbound`: what people text to us; STOP and START take effect before the answer."""

import logging
from enum import StrEnum
from functools import partial
from typing import Annotated, Final, Self

import anyio
from anyio import to_thread
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from sqlalchemy import Engine
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from messaging.fields import Sender, problem
from messaging.keywords import InboundKind, classify_inbound
from messaging.phone import InvalidAddress, normalize_recipient, normalize_sender
from store.database import DatabaseUnavailable
from store.inbound import InboundMessages
from webhook.metrics import Metrics
from webhook.sparing import SparingLog
from webhook.verify import Verifier

_log = logging.getLogger(__name__)

MOST_TRANSACTIONS: Final = 8
"""At a time; the engine's pool should be no smaller."""
_QUEUE_SECONDS = 5.0
"""How long a message waits for a thread; the database's own timeouts bound the transaction."""

# Twilio answers STOP and HELP itself. Anything but an empty TwiML document would be texted to the
# person, or logged as an error.
_NO_REPLY = b'<?xml version="1.0" encoding="UTF-8"?><Response/>'


def _correspondent(raw: str) -> str:
    """Whoever texted: a person, or a short code or alphanumeric id; the one spelling of it."""
    try:
        return normalize_recipient(raw)
    except InvalidAddress as as_recipient:
        try:
            return normalize_sender(raw)
        except InvalidAddress:
            raise problem(str(as_recipient)) from None


class InboundMessage(BaseModel):
    """What is used of an inbound message, by Twilio's names."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    message_sid: Annotated[str, Field(alias="MessageSid", pattern=r"^(SM|MM)[0-9a-fA-F]{32}$")]
    sms_sid: Annotated[str | None, Field(alias="SmsSid")] = None
    sms_message_sid: Annotated[str | None, Field(alias="SmsMessageSid")] = None
    from_: Annotated[str, Field(alias="From", repr=False), AfterValidator(_correspondent)]
    to: Annotated[Sender, Field(alias="To", repr=False)]
    body: Annotated[str, Field(alias="Body", repr=False)] = ""
    opt_out_type: Annotated[str | None, Field(alias="OptOutType")] = None
    messaging_service_sid: Annotated[
        str | None, Field(alias="MessagingServiceSid", pattern=r"^MG[0-9a-fA-F]{32}$")
    ] = None

    @model_validator(mode="after")
    def _names_one_message(self) -> Self:
        if {self.sms_sid, self.sms_message_sid} - {None, self.message_sid}:
            raise problem("SmsSid and SmsMessageSid must be the same as MessageSid")
        return self

    @property
    def is_from_a_recipient(self) -> bool:
        """Whether it came from somebody we could send to; short codes and names cannot be."""
        try:
            normalize_recipient(self.from_)
        except InvalidAddress:
            return False
        return True


class Result(StrEnum):
    """What became of an inbound message."""

    RECORDED = "recorded"
    DUPLICATE = "duplicate"
    """Twilio sent it again; nothing changed."""
    NO_RECIPIENT = "no_recipient"
    """From a short code or a name: nothing can be sent there, so there is nobody to suppress."""
    UNAVAILABLE = "unavailable"
    """The database could not take it; Twilio was told so."""


def transactions_at_a_time(engine: Engine) -> int:
    """How many transactions the database of `engine` does best at a time.

    SQLite lets one writer in and makes the others sleep without a queue. Measured: eight at a time
    did half of what one does, and their slowest percent took 340 ms instead of 2.
    """
    return 1 if engine.dialect.name == "sqlite" else MOST_TRANSACTIONS


class InboundEndpoint:
    """Answers with empty TwiML only for what is in the database, 503 otherwise."""

    def __init__(
        self,
        *,
        verify: Verifier,
        inbound_messages: InboundMessages,
        transactions: int = MOST_TRANSACTIONS,
        metrics: Metrics,
    ) -> None:
        self._verify = verify
        self._inbound_messages = inbound_messages
        self._metrics = metrics
        self._threads = anyio.CapacityLimiter(transactions)
        self._outage = SparingLog(_log)

    async def receive(self, request: Request) -> Response:
        """Verify, classify, and keep the message with what it asks for in one transaction."""
        message = (await self._verify(request)).read(InboundMessage)
        kind = classify_inbound(message.body, message.opt_out_type)
        result = await self._keep(message, kind)
        self._metrics.inbound_messages.labels(kind, result).inc()
        if result is Result.UNAVAILABLE:
            raise HTTPException(503, "Not safe yet, please try again.")
        return Response(_NO_REPLY, media_type="text/xml")

    async def _keep(self, message: InboundMessage, kind: InboundKind) -> Result:
        if not message.is_from_a_recipient:
            return Result.NO_RECIPIENT
        receive = partial(
            self._inbound_messages.receive,
            message_sid=message.message_sid,
            from_=message.from_,
            to=message.to,
            kind=kind,
            body=message.body,
            messaging_service_sid=message.messaging_service_sid,
        )
        try:
            # A transaction that has begun is waited for: its thread could not be stopped anyway.
            with anyio.fail_after(_QUEUE_SECONDS):
                new = await to_thread.run_sync(receive, limiter=self._threads)
        except (DatabaseUnavailable, TimeoutError) as error:
            self._outage.warning(
                "An inbound message could not be kept: %s Twilio was told to try again.",
                error if isinstance(error, DatabaseUnavailable) else "The database is too slow.",
            )
            return Result.UNAVAILABLE
        return Result.RECORDED if new else Result.DUPLICATE
