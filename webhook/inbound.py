"""`POST /webhook/inbound`: messages from people. A STOP takes effect before the answer."""

import logging
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Self, assert_never

from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from signedfor.contract import InboundKind, InboundMedia
from signedfor.contract.fields import Sender, problem
from signedfor.inbound import FromAddress, InboundRecord, also_from, is_recipient
from signedfor.logging import RateLimitedLogger
from signedfor.store.database import DatabaseUnavailable
from signedfor.store.inbound import InboundMessages
from signedfor.twilio.classifier import classify_inbound
from webhook.body import Fields
from webhook.metrics import Metrics
from webhook.replies import NO_REPLY, Replies
from webhook.resilience import CircuitBreaker, DatabaseThreads
from webhook.signature import Verifier
from webhook.temporal import InboundRecorder, Rejected, Started, Unavailable

_log = logging.getLogger(__name__)


class InboundCallback(BaseModel):
    """The fields used of an inbound message, by Twilio's names; `media_in` has the others."""

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

    def record(self, kind: InboundKind, media: tuple[InboundMedia, ...]) -> InboundRecord:
        """What to record."""
        return InboundRecord(
            message_sid=self.message_sid,
            from_=self.from_,
            to=self.to,
            kind=kind,
            also_from=also_from(
                self.from_, user_ids=(self.user_id, self.parent_user_id), wa_id=self.wa_id
            ),
            messaging_service_sid=self.messaging_service_sid,
            body=self.body,
            media=media,
        )


def media_in(fields: Fields) -> tuple[InboundMedia, ...]:
    """The pictures and files of an inbound message.

    What is wrong with them is ignored: the message may be a STOP.
    """
    found: list[InboundMedia] = []
    while url := fields.get(f"MediaUrl{len(found)}"):
        content_type = fields.get(f"MediaContentType{len(found)}", "")
        found.append(InboundMedia(url=url, content_type=content_type))
    return tuple(found)


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
    """Answers with TwiML only if the message is in the database or in Temporal, else 503.

    The TwiML is the reply to the keyword, if there is one, and otherwise empty. `recorded` is
    called when a message was stored in the database.
    """

    def __init__(
        self,
        *,
        verify: Verifier,
        inbound_messages: InboundMessages,
        replies: Replies,
        threads: DatabaseThreads,
        database: CircuitBreaker,
        recorder: InboundRecorder,
        recorded: Callable[[], None],
        metrics: Metrics,
    ) -> None:
        self._verify = verify
        self._inbound_messages = inbound_messages
        self._replies = replies
        self._recorded = recorded
        self._threads = threads
        self._database = database
        self._recorder = recorder
        self._metrics = metrics
        self._warnings = RateLimitedLogger(_log)

    async def receive(self, request: Request) -> Response:
        """Verify and classify it, and store it with what it asks for in one transaction."""
        callback = await self._verify(request)
        message = callback.read(InboundCallback)
        kind = classify_inbound(message.body, message.opt_out_type)
        result = await self.store(message.record(kind, media_in(callback.fields)))
        self._metrics.inbound_messages.labels(kind, result).inc()
        if result is Result.UNAVAILABLE:
            raise HTTPException(503, "Not stored yet, please try again.")
        twiml = NO_REPLY
        if result is not Result.NO_RECIPIENT:
            twiml = self._replies.to(kind, message.to, service=message.messaging_service_sid)
        return Response(twiml, media_type="text/xml")

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
        self._recorded()
        return Result.RECORDED if is_new else Result.DUPLICATE

    async def _defer(self, record: InboundRecord) -> Result:
        # Temporal holds no text that is not needed.
        is_needed = self._inbound_messages.texts.stores(record.kind)
        match await self._recorder.start(record if is_needed else record.without_text()):
            case Started():
                return Result.DEFERRED
            case Rejected(reason) | Unavailable(reason):
                self._warnings.warning(
                    "Temporal could not store an inbound message either: %s.", reason
                )
                return Result.UNAVAILABLE
            case other:
                assert_never(other)
