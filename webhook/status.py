"""`POST /webhook/status`: what became of a message, from Twilio to the workflow that waits."""

import logging
from datetime import UTC, datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from messaging.contract import DeliveryStatus
from messaging.fields import MessageId, TwilioErrorCode, problem
from messaging.statuses import is_receipt, parse_status
from webhook.metrics import Metrics
from webhook.signals import ReceiptNotTaken, Receipts, Taker
from webhook.sparing import SparingLog
from webhook.verify import Verifier

_log = logging.getLogger(__name__)


class StatusCallback(BaseModel):
    """What is used of a status callback, by Twilio's names, and our `message_id` of its URL."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    message_id: MessageId
    message_sid: Annotated[str, Field(alias="MessageSid", pattern=r"^(SM|MM)[0-9a-fA-F]{32}$")]
    sms_sid: Annotated[str | None, Field(alias="SmsSid")] = None
    message_status: Annotated[str, Field(alias="MessageStatus", max_length=40)]
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
    """Answers 204 only for what is safe in Temporal or cannot change the outcome, 503 otherwise."""

    def __init__(
        self, *, verify: Verifier, receipts: Receipts, metrics: Metrics, forward_all: bool
    ) -> None:
        self._verify = verify
        self._receipts = receipts
        self._metrics = metrics
        self._forward_all = forward_all
        self._outage = SparingLog(_log)

    async def receive(self, request: Request) -> Response:
        """Verify, then signal what can change the outcome."""
        callback = (await self._verify(request)).read(StatusCallback)
        status = parse_status(callback.message_status)
        label = status.value if status else "unknown"
        # A status that changes nothing would only cost the workflow history.
        if not (self._forward_all or (status and is_receipt(status))):
            self._count(label, "acknowledged")
            return Response(status_code=204)
        try:
            taker = await self._receipts.deliver(callback.message_id, callback.delivery_status())
        except ReceiptNotTaken as error:
            # The callback is verified and whole here: whoever keeps it until Temporal is back
            # does so in this place, and answers 204.
            self._count(label, "unavailable")
            self._outage.warning("A receipt is not safe: %s. Twilio was asked to try again.", error)
            raise HTTPException(503, "Not safe yet, please try again.") from None
        self._count(label, taker)
        if taker is Taker.NOBODY:
            _log.info(
                "Receipt for %s: message and dead letter closed or unknown; acknowledged.",
                callback.message_id,
            )
        return Response(status_code=204)

    def _count(self, status: str, result: str) -> None:
        self._metrics.status_callbacks.labels(status, result).inc()
