"""`POST /webhook/inbound`: what people text to us; STOP and START take effect before the answer."""

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
from webhook.breaker import Breaker
from webhook.metrics import Metrics
from webhook.records import InboundRecords, RecordNotTaken
from webhook.sparing import SparingLog
from webhook.threads import DatabaseThreads
from webhook.verify import Verifier

_log = logging.getLogger(__name__)

# Twilio answers STOP and HELP itself. Anything but an empty TwiML document would be texted to the
# person, or logged as an error.
_NO_REPLY = b'<?xml version="1.0" encoding="UTF-8"?><Response/>'


class InboundMessage(BaseModel):
    """What is used of an inbound message, by Twilio's names."""

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
        """What is to be recorded of it; its text only if somebody has to read it."""
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
    """From a short code or a name: nothing can be sent there, so there is nobody to suppress."""
    DEFERRED = "deferred"
    """The database is away: Temporal has it, and records it when the database is back."""
    UNAVAILABLE = "unavailable"
    """Neither could take it; Twilio was told so."""


class InboundEndpoint:
    """Answers with empty TwiML only for what is in the database or in Temporal, 503 otherwise."""

    def __init__(
        self,
        *,
        verify: Verifier,
        inbound_messages: InboundMessages,
        threads: DatabaseThreads,
        database: Breaker,
        records: InboundRecords,
        metrics: Metrics,
    ) -> None:
        self._verify = verify
        self._inbound_messages = inbound_messages
        self._threads = threads
        self._database = database
        self._records = records
        self._metrics = metrics
        self._outage = SparingLog(_log)

    async def receive(self, request: Request) -> Response:
        """Verify, classify, and keep the message with what it asks for in one transaction."""
        message = (await self._verify(request)).read(InboundMessage)
        kind = classify_inbound(message.body, message.opt_out_type)
        result = Result.NO_RECIPIENT
        if is_recipient(message.from_):
            result = await self._take(message.record(kind))
        self._metrics.inbound_messages.labels(kind, result).inc()
        if result is Result.UNAVAILABLE:
            raise HTTPException(503, "Not safe yet, please try again.")
        return Response(_NO_REPLY, media_type="text/xml")

    async def _take(self, record: InboundRecord) -> Result:
        tried = self._database.allows()
        return (
            (await self._keep(record) if tried else None)
            or await self._defer(record)
            or (await self._keep(record) if not tried else None)
            or Result.UNAVAILABLE
        )

    async def _keep(self, record: InboundRecord) -> Result | None:
        """The result if the database has it now."""
        try:
            new = await self._threads.run(self._inbound_messages.receive, **record.to_keep())
        except DatabaseUnavailable as error:
            self._database.trip()
            self._outage.warning("An inbound message could not be kept: %s", error)
            return None
        self._database.reset()
        return Result.RECORDED if new else Result.DUPLICATE

    async def _defer(self, record: InboundRecord) -> Result | None:
        """The result if Temporal has it now."""
        try:
            await self._records.start(record)
        except RecordNotTaken as error:
            self._outage.warning("Nor could Temporal keep an inbound message: %s.", error)
            return None
        return Result.DEFERRED
