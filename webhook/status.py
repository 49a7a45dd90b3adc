"""`POST /webhook/status`: what became of a message, from Twilio to the workflow that waits."""

import logging
from datetime import UTC, datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from signedfor.contract import DeliveryStatus
from signedfor.contract.fields import MessageId, TwilioErrorCode, problem
from signedfor.store.database import DatabaseUnavailable
from signedfor.twilio.statuses import is_receipt, parse_status
from webhook.breaker import Breaker
from webhook.inbox import ReceiptInbox
from webhook.metrics import Metrics
from webhook.remembered import Remembered
from webhook.signals import ReceiptNotTaken, ReceiptRefused, Receipts, Taker
from webhook.sparing import SparingLog
from webhook.verify import Verifier

_log = logging.getLogger(__name__)


class StatusCallback(BaseModel):
    """What is used of a status callback, by Twilio's names, and our `message_id` of its URL."""

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


class StatusEndpoint:
    """Answers 204 only for what is safe or cannot change the outcome, 503 otherwise.

    Safe is what Temporal has, or the inbox while Temporal is away; whoever drains the inbox takes
    it on from there.
    """

    def __init__(
        self,
        *,
        verify: Verifier,
        receipts: Receipts,
        inbox: ReceiptInbox,
        remembered: Remembered,
        temporal: Breaker,
        metrics: Metrics,
        forward_all: bool,
    ) -> None:
        self._verify = verify
        self._receipts = receipts
        self._inbox = inbox
        self._remembered = remembered
        self._temporal = temporal
        self._metrics = metrics
        self._forward_all = forward_all
        self._outage = SparingLog(_log)

    async def receive(self, request: Request) -> Response:
        """Verify, then signal what can change the outcome, or keep it."""
        callback = (await self._verify(request)).read(StatusCallback)
        status = parse_status(callback.message_status)
        label = status.value if status else "unknown"
        message_id, signal = callback.message_id, callback.delivery_status()
        # One known to change nothing would only cost the workflow history, unless its fate is open.
        if status is not None and not is_receipt(status) and not self._forward_all:
            self._remembered.add(message_id, signal)
            self._count(label, "acknowledged")
            return Response(status_code=204)
        behind = self._inbox.may_hold(message_id)
        tried = not behind and self._temporal.allows()
        safe = (
            (tried and await self._signal(label, message_id, signal))
            or await self._keep(label, message_id, signal)
            # Neither an order nor an outage remembered is worth a receipt.
            or (not tried and await self._signal(label, message_id, signal))
        )
        if not safe:
            self._count(label, "unavailable")
            raise HTTPException(503, "Not safe yet, please try again.")
        if status is not None:  # one we do not know names no SID to the workflow
            self._remembered.forget(message_id, signal)
        return Response(status_code=204)

    async def _signal(self, label: str, message_id: str, signal: DeliveryStatus) -> bool:
        """Whether Temporal has it now."""
        try:
            taker = await self._receipts.deliver(message_id, signal)
        except ReceiptRefused as error:
            self._outage.warning("A receipt was not taken: %s.", error)
            return False
        except ReceiptNotTaken as error:
            self._temporal.trip()
            self._outage.warning(
                "A receipt was not taken: %s. Until it can be, see the inbox.", error
            )
            return False
        self._temporal.reset()
        self._count(label, taker)
        if taker is Taker.NOBODY:
            _log.info(
                "Receipt for %s: message and dead letter closed or unknown; acknowledged.",
                message_id,
            )
        return True

    async def _keep(self, label: str, message_id: str, signal: DeliveryStatus) -> bool:
        """Whether the inbox has it now."""
        try:
            await self._inbox.put(message_id, signal)
        except DatabaseUnavailable as error:
            self._outage.warning("A receipt is not safe: %s Twilio is asked to try again.", error)
            return False
        self._count(label, "inbox")
        return True

    def _count(self, status: str, result: str) -> None:
        self._metrics.status_callbacks.labels(status, result).inc()
