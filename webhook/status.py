"""`POST /webhook/status`: a delivery status, from Twilio to the workflow that waits for it."""

import logging
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from signedfor.contract import DeliveryStatus
from signedfor.contract.fields import MessageId, TwilioErrorCode, problem
from signedfor.store.database import DatabaseUnavailable
from signedfor.twilio.statuses import is_receipt, parse_status
from webhook.inbox import CallbackInbox
from webhook.metrics import Metrics
from webhook.recent_callbacks import RecentCallbacks
from webhook.resilience import CircuitBreaker, RateLimitedLogger
from webhook.temporal import SignalTarget, StatusSignals, TemporalCallFailed, TemporalCallRejected
from webhook.verify import Verifier

_log = logging.getLogger(__name__)


class StatusCallback(BaseModel):
    """The fields used of a status callback, by Twilio's names, and `message_id` from its URL."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    message_id: MessageId
    message_sid: Annotated[str, Field(alias="MessageSid", pattern=r"^(SM|MM)[0-9a-fA-F]{32}$")]
    sms_sid: Annotated[str | None, Field(alias="SmsSid")] = None
    message_status: Annotated[str, Field(alias="MessageStatus", pattern=r"^[!-~]{1,40}$")]
    error_code: Annotated[TwilioErrorCode | None, Field(alias="ErrorCode")] = None

    @model_validator(mode="after")
    def _names_one_message(self) -> Self:
        if self.sms_sid not in {None, self.message_sid}:
            raise problem("SmsSid must be the same as MessageSid")
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
    """The message was signalled."""
    DEAD_LETTER = "dead_letter"
    """The dead letter was signalled: a late receipt."""
    NONE = "none"
    """Both are closed, or there was never such a message."""
    INBOX = "inbox"
    """Temporal is unavailable, or earlier receipts wait there: it is in the callback inbox."""
    UNAVAILABLE = "unavailable"
    """Neither could store it; Twilio was told so."""


_RESULT_OF = {
    SignalTarget.MESSAGE: Result.MESSAGE,
    SignalTarget.DEAD_LETTER: Result.DEAD_LETTER,
    SignalTarget.NONE: Result.NONE,
}


class StatusEndpoint:
    """Answers 204 only when the status is safe or cannot change the outcome, 503 otherwise.

    Safe means in Temporal, or in the callback inbox while Temporal is unavailable.
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
        """Verify, then signal or store what can change the outcome."""
        callback = (await self._verify(request)).read(StatusCallback)
        status = parse_status(callback.message_status)
        message_id, signal = callback.message_id, callback.delivery_status()
        # Known to change nothing, it would only cost the workflow history, unless its outcome is
        # unknown.
        if status is not None and not is_receipt(status) and not self._forward_all:
            self._recent.add(message_id, signal)
            result = Result.ACKNOWLEDGED
        else:
            result = await self._deliver(message_id, signal)
            is_safe = result is not Result.UNAVAILABLE
            if is_safe and status is not None:  # an unknown one names no SID to the workflow
                self._recent.remove(message_id, signal)
        self._metrics.status_callbacks.labels(status.value if status else "unknown", result).inc()
        if result is Result.UNAVAILABLE:
            raise HTTPException(503, "Not stored yet, please try again.")
        return Response(status_code=204)

    async def _deliver(self, message_id: str, signal: DeliveryStatus) -> Result:
        """Signal it, or else store it: in the inbox first where it must queue there."""
        signal_first = not self._inbox.may_hold(message_id) and self._temporal.allows()
        if signal_first:
            signalled = await self._signal(message_id, signal)
            if signalled is not None:
                return signalled
        if await self._store(message_id, signal):
            return Result.INBOX
        if not signal_first:
            # Better out of order, or after a wait for Temporal, than lost.
            signalled = await self._signal(message_id, signal)
            if signalled is not None:
                return signalled
        return Result.UNAVAILABLE

    async def _signal(self, message_id: str, signal: DeliveryStatus) -> Result | None:
        """The result if Temporal has it now."""
        try:
            target = await self._signals.send(message_id, signal)
        except TemporalCallRejected as error:
            self._warnings.warning("A receipt was not delivered: %s.", error)
            return None
        except TemporalCallFailed as error:
            self._temporal.trip()
            self._warnings.warning(
                "A receipt was not delivered: %s. It goes to the inbox until it can be.", error
            )
            return None
        self._temporal.reset()
        if target is SignalTarget.NONE:
            _log.info(
                "Receipt for %s: message and dead letter closed or unknown; acknowledged.",
                message_id,
            )
        return _RESULT_OF[target]

    async def _store(self, message_id: str, signal: DeliveryStatus) -> bool:
        """Whether the inbox has it now."""
        try:
            await self._inbox.put(message_id, signal)
        except DatabaseUnavailable as error:
            self._warnings.warning(
                "A receipt is not stored: %s Twilio is asked to try again.", error
            )
            return False
        return True
