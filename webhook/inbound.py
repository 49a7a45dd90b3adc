"""`POST /webhook/inbound`: messages from people; STOP and START take effect before the answer."""

import logging
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from signedfor.contract.fields import Sender, problem
from signedfor.inbound import Correspondent, InboundRecord, is_recipient
from signedfor.store.database import DatabaseUnavailable
from signedfor.store.inbound import InboundMessages
from signedfor.twilio.keywords import InboundKind, classify_inbound
from webhook.metrics import Metrics
from webhook.resilience import CircuitBreaker, DatabaseThreads, RateLimitedLogger
from webhook.temporal import InboundRecorder, TemporalCallFailed
from webhook.verify import Verifier

_log = logging.getLogger(__name__)

# Twilio answers STOP and HELP itself. Anything but an empty TwiML document would be texted to the
# person, or logged as an error.
_NO_REPLY = b'<?xml version="1.0" encoding="UTF-8"?><Response/>'


class InboundMessage(BaseModel):
    """The fields used of an inbound message, by Twilio's names."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    message_sid: Annotated[str, Field(alias="MessageSid", pattern=r"^(SM|MM)[0-9a-fA-F]{32}$")]
    sms_sid: Annotated[str | None, Field(alias="SmsSid")] = None
    sms_message_sid: Annotated[str | None, Field(alias="SmsMessageSid")] = None
    from_: Annotated[Correspondent, Field(alias="From", repr=False)]
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

    def record(self, kind: InboundKind) -> InboundRecord:
        """What is to be recorded of it; its text only if an operator must read it."""
        return InboundRecord(
            message_sid=self.message_sid,
            from_=self.from_,
            to=self.to,
            kind=kind,
            messaging_service_sid=self.messaging_service_sid,
            body=self.body if kind is InboundKind.REVIEW else "",
            received_at=datetime.now(UTC),
        )


class Result(StrEnum):
    """What became of an inbound message."""

    RECORDED = "recorded"
    DUPLICATE = "duplicate"
    """Twilio sent it again; nothing changed."""
    NO_RECIPIENT = "no_recipient"
    """From a short code or a name, which cannot be sent to: there is nothing to suppress."""
    DEFERRED = "deferred"
    """The database is unavailable: Temporal has it, and records it once the database is back."""
    UNAVAILABLE = "unavailable"
    """Neither could store it; Twilio was told so."""


class InboundEndpoint:
    """Answers with empty TwiML only for what is in the database or in Temporal, 503 otherwise."""

    def __init__(
        self,
        *,
        verify: Verifier,
        inbound_messages: InboundMessages,
        threads: DatabaseThreads,
        database: CircuitBreaker,
        recorder: InboundRecorder,
        metrics: Metrics,
    ) -> None:
        self._verify = verify
        self._inbound_messages = inbound_messages
        self._threads = threads
        self._database = database
        self._recorder = recorder
        self._metrics = metrics
        self._warnings = RateLimitedLogger(_log)

    async def receive(self, request: Request) -> Response:
        """Verify, classify, and store the message with what it asks for in one transaction."""
        message = (await self._verify(request)).read(InboundMessage)
        kind = classify_inbound(message.body, message.opt_out_type)
        result = Result.NO_RECIPIENT
        if is_recipient(message.from_):
            result = await self._store(message.record(kind))
        self._metrics.inbound_messages.labels(kind, result).inc()
        if result is Result.UNAVAILABLE:
            raise HTTPException(503, "Not stored yet, please try again.")
        return Response(_NO_REPLY, media_type="text/xml")

    async def _store(self, record: InboundRecord) -> Result:
        """Record it in the database, or else give it to Temporal; in an outage, Temporal first."""
        record_first = self._database.allows()
        if record_first:
            recorded = await self._record(record)
            if recorded is not None:
                return recorded
        if await self._defer(record):
            return Result.DEFERRED
        if not record_first:
            recorded = await self._record(record)
            if recorded is not None:
                return recorded
        return Result.UNAVAILABLE

    async def _record(self, record: InboundRecord) -> Result | None:
        """The result if the database has it now."""
        try:
            is_new = await self._threads.run(self._inbound_messages.receive, record)
        except DatabaseUnavailable as error:
            self._database.trip()
            self._warnings.warning("An inbound message could not be recorded: %s", error)
            return None
        self._database.reset()
        return Result.RECORDED if is_new else Result.DUPLICATE

    async def _defer(self, record: InboundRecord) -> bool:
        """Whether Temporal has it now."""
        try:
            await self._recorder.start(record)
        except TemporalCallFailed as error:
            self._warnings.warning("Nor could Temporal store an inbound message: %s.", error)
            return False
        return True
