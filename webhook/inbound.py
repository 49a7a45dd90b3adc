"""`POST /webhook/inbound`: messages from people. A STOP takes effect before the answer."""

import logging
from enum import StrEnum
from typing import Annotated, Self, assert_never

from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from signedfor.contract.fields import Sender, problem
from signedfor.inbound import FromAddress, InboundRecord, also_from, is_recipient
from signedfor.store.database import DatabaseUnavailable
from signedfor.store.inbound import InboundMessages
from signedfor.twilio.keywords import InboundKind, classify_inbound
from webhook.metrics import Metrics
from webhook.resilience import CircuitBreaker, DatabaseThreads, RateLimitedLogger
from webhook.signature import Verifier
from webhook.temporal import InboundRecorder, Rejected, Started, Unavailable

_log = logging.getLogger(__name__)

# Twilio answers STOP and HELP itself. Any other TwiML would be sent to the person as a message, or
# logged as an error.
_NO_REPLY = b'<?xml version="1.0" encoding="UTF-8"?><Response/>'


class InboundMessage(BaseModel):
    """The fields used of an inbound message, by Twilio's names."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    message_sid: Annotated[str, Field(alias="MessageSid", pattern=r"^(SM|MM)[0-9a-fA-F]{32}$")]
    sms_sid: Annotated[str | None, Field(alias="SmsSid")] = None
    sms_message_sid: Annotated[str | None, Field(alias="SmsMessageSid")] = None
    from_: Annotated[FromAddress, Field(alias="From", repr=False)]
    to: Annotated[Sender, Field(alias="To", repr=False)]
    body: Annotated[str, Field(alias="Body", repr=False)] = ""
    opt_out_type: Annotated[str | None, Field(alias="OptOutType")] = None
    messaging_service_sid: Annotated[
        str | None, Field(alias="MessagingServiceSid", pattern=r"^MG[0-9a-fA-F]{32}$")
    ] = None
    user_id: Annotated[str | None, Field(alias="ExternalUserId", repr=False)] = None
    parent_user_id: Annotated[str | None, Field(alias="ParentExternalUserId", repr=False)] = None
    wa_id: Annotated[str | None, Field(alias="WaId", repr=False)] = None

    @model_validator(mode="after")
    def _names_one_message(self) -> Self:
        if {self.sms_sid, self.sms_message_sid} - {None, self.message_sid}:
            raise problem("SmsSid and SmsMessageSid must be the same as MessageSid")
        return self

    def record(self, kind: InboundKind) -> InboundRecord:
        """What to record; includes the text only if an operator must read it."""
        return InboundRecord(
            message_sid=self.message_sid,
            from_=self.from_,
            to=self.to,
            kind=kind,
            also_from=also_from(
                self.from_, user_ids=(self.user_id, self.parent_user_id), wa_id=self.wa_id
            ),
            messaging_service_sid=self.messaging_service_sid,
            body=self.body if kind is InboundKind.REVIEW else "",
        )


class Result(StrEnum):
    """What became of an inbound message."""

    RECORDED = "recorded"
    DUPLICATE = "duplicate"
    """Twilio sent it again; nothing changed."""
    NO_RECIPIENT = "no_recipient"
    """From a short code or a name, which cannot receive messages: there is nothing to suppress."""
    DEFERRED = "deferred"
    """The database is unavailable; a workflow records the message once it is back."""
    UNAVAILABLE = "unavailable"
    """It could not be stored; Twilio is asked to try again."""


class InboundEndpoint:
    """Answers with empty TwiML only if the message is in the database or in Temporal, else 503."""

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
        """Verify and classify it, and store it with what it asks for in one transaction."""
        message = (await self._verify(request)).read(InboundMessage)
        kind = classify_inbound(message.body, message.opt_out_type)
        result = await self.store(message.record(kind))
        self._metrics.inbound_messages.labels(kind, result).inc()
        if result is Result.UNAVAILABLE:
            raise HTTPException(503, "Not stored yet, please try again.")
        return Response(_NO_REPLY, media_type="text/xml")

    async def store(self, record: InboundRecord) -> Result:
        """Store it in the database or in Temporal; in Temporal first if the database has failed."""
        if not is_recipient(record.from_):
            return Result.NO_RECIPIENT
        attempts = [self._record, self._defer]
        if not self._database.allows():
            attempts.reverse()
        for attempt in attempts:
            result = await attempt(record)
            if result is not Result.UNAVAILABLE:
                return result
        return Result.UNAVAILABLE

    async def _record(self, record: InboundRecord) -> Result:
        try:
            is_new = await self._threads.run(self._inbound_messages.receive, record)
        except DatabaseUnavailable as error:
            self._database.trip()
            self._warnings.warning("An inbound message could not be recorded: %s", error)
            return Result.UNAVAILABLE
        self._database.reset()
        return Result.RECORDED if is_new else Result.DUPLICATE

    async def _defer(self, record: InboundRecord) -> Result:
        match await self._recorder.start(record):
            case Started():
                return Result.DEFERRED
            case Rejected(reason) | Unavailable(reason):
                self._warnings.warning(
                    "Temporal could not store an inbound message either: %s.", reason
                )
                return Result.UNAVAILABLE
            case other:
                assert_never(other)
