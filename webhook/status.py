"""`POST /webhook/status`: a delivery status, from Twilio to the workflow that waits for it."""

import logging
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Self, assert_never

from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from signedfor import tracing
from signedfor.contract import DeliveryStatus
from signedfor.contract.fields import MessageId, TwilioErrorCode, problem
from signedfor.logging import RateLimitedLogger
from signedfor.masks import contains_number_of
from signedfor.store.database import DatabaseUnavailable
from signedfor.twilio.statuses import is_receipt, parse_status
from webhook.inbox import CallbackInbox
from webhook.metrics import Metrics
from webhook.recent_callbacks import RecentCallbacks
from webhook.resilience import CircuitBreaker
from webhook.signature import Verifier
from webhook.temporal import Rejected, Signaled, SignalTarget, StatusSignals, Unavailable

_log = logging.getLogger(__name__)


class StatusCallback(BaseModel):
    """The fields used of a status callback, by Twilio's names, and `message_id` from its URL."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    message_id: MessageId
    message_sid: Annotated[str, Field(alias="MessageSid", pattern=r"^(SM|MM)[0-9a-fA-F]{32}$")]
    sms_sid: Annotated[str | None, Field(alias="SmsSid")] = None
    to: Annotated[str | None, Field(alias="To", repr=False)] = None
    message_status: Annotated[str, Field(alias="MessageStatus", pattern=r"^[!-~]{1,40}$")]
    error_code: Annotated[TwilioErrorCode | None, Field(alias="ErrorCode")] = None

    @model_validator(mode="after")
    def _names_one_message(self) -> Self:
        if self.sms_sid not in {None, self.message_sid}:
            raise problem("SmsSid must be the same as MessageSid")
        # No message has such an id, and the logs have ids.
        if self.to is not None and contains_number_of(self.message_id, self.to):
            raise problem("message_id must not contain the recipient's number")
        return self

    def delivery_status(self) -> DeliveryStatus:
        """The signal for the workflow."""
        return DeliveryStatus(
            message_sid=self.message_sid,
            message_status=self.message_status,
            error_code=self.error_code,
            received_at=datetime.now(UTC),
        )


class Result(StrEnum):
    """What became of a status callback."""

    ACKNOWLEDGED = "acknowledged"
    """It cannot change an outcome; it is kept for a while in case an outcome is unknown."""
    MESSAGE = "message"
    """The message was signaled."""
    DEAD_LETTER = "dead_letter"
    """The dead letter was signaled: a late receipt."""
    NONE = "none"
    """Both are closed, or there was never such a message."""
    INBOX = "inbox"
    """Temporal is unavailable, or earlier receipts wait there: it is in the callback inbox."""
    UNAVAILABLE = "unavailable"
    """It could not be stored; Twilio is asked to try again."""


_RESULT_OF = {
    SignalTarget.MESSAGE: Result.MESSAGE,
    SignalTarget.DEAD_LETTER: Result.DEAD_LETTER,
    SignalTarget.NONE: Result.NONE,
}


class StatusEndpoint:
    """Answers 204 only if the status is stored or cannot change the outcome, 503 otherwise.

    Stored means in Temporal, or in the callback inbox while Temporal is unavailable.
    """

    def __init__(
        self,
        *,
        verify: Verifier,
        signals: StatusSignals,
        inbox: CallbackInbox,
        recent: RecentCallbacks,
        temporal: CircuitBreaker,
        metrics: Metrics,
        forward_all: bool,
    ) -> None:
        self._verify = verify
        self._signals = signals
        self._inbox = inbox
        self._recent = recent
        self._temporal = temporal
        self._metrics = metrics
        self._forward_all = forward_all
        self._warnings = RateLimitedLogger(_log)

    async def receive(self, request: Request) -> Response:
        """Verify it; if it can change the outcome, signal or store it."""
        verified = await self._verify(request)
        callback = verified.read(StatusCallback)
        status = parse_status(callback.message_status)
        with tracing.span(
            "status callback",
            callback.message_id,
            kind="server",
            traceparent=verified.traceparent,
        ):
            result = await self.accept(callback.message_id, callback.delivery_status())
            tracing.annotate(
                twilio__message_sid=callback.message_sid,
                twilio__message_status=status.value if status else "unknown",
                twilio__error_code=callback.error_code,
                signedfor__result=result.value,
            )
        self._metrics.status_callbacks.labels(status.value if status else "unknown", result).inc()
        if result is Result.UNAVAILABLE:
            raise HTTPException(503, "Not stored yet, please try again.")
        return Response(status_code=204)

    async def accept(self, message_id: str, signal: DeliveryStatus) -> Result:
        """Signal or store a verified status if it can change the outcome of its message."""
        status = parse_status(signal.message_status)
        # A status that changes no outcome would only lengthen the workflow's history. It is needed
        # only if the outcome is unknown.
        if status is not None and not is_receipt(status) and not self._forward_all:
            self._recent.add(message_id, signal)
            return Result.ACKNOWLEDGED
        result = await self._deliver(message_id, signal)
        # The workflow ignores an unknown status and does not learn its SID.
        if result is not Result.UNAVAILABLE and status is not None:
            self._recent.remove(message_id, signal)
        return result

    async def _deliver(self, message_id: str, signal: DeliveryStatus) -> Result:
        """Signal or store it.

        It is stored first if earlier receipts of its message are in the inbox, to keep their order,
        or if Temporal has just failed, so as not to wait for it.
        """
        attempts = [self._signal, self._store]
        if self._inbox.may_hold(message_id) or not self._temporal.allows():
            attempts.reverse()
        for attempt in attempts:
            result = await attempt(message_id, signal)
            if result is not Result.UNAVAILABLE:
                return result
        return Result.UNAVAILABLE

    async def _signal(self, message_id: str, signal: DeliveryStatus) -> Result:
        match await self._signals.send(message_id, signal):
            case Signaled(target):
                self._temporal.reset()
                if target is SignalTarget.NONE:
                    _log.info(
                        "Receipt for %s: message and dead letter are closed or unknown; "
                        "acknowledged.",
                        message_id,
                        extra={"message_id": message_id},
                    )
                return _RESULT_OF[target]
            case Rejected(reason):
                self._warnings.warning("A receipt was not delivered: %s.", reason)
                return Result.UNAVAILABLE
            case Unavailable(reason):
                self._temporal.trip()
                self._warnings.warning(
                    "A receipt was not delivered: %s. It goes to the inbox until it can be.", reason
                )
                return Result.UNAVAILABLE
            case other:
                assert_never(other)

    async def _store(self, message_id: str, signal: DeliveryStatus) -> Result:
        try:
            await self._inbox.put(message_id, signal)
        except DatabaseUnavailable as error:
            self._warnings.warning(
                "A receipt is not stored: %s Twilio is asked to try again.", error
            )
            return Result.UNAVAILABLE
        return Result.INBOX
