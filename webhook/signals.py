"""Takes a verified receipt to the workflow that waits for it."""

import asyncio
from datetime import timedelta
from enum import StrEnum

from temporalio.api.errordetails.v1 import NotFoundFailure
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from signedfor.contract import (
    DELIVERY_STATUS_SIGNAL,
    DeliveryStatus,
    dead_letter_workflow_id,
    message_workflow_id,
)


class Taker(StrEnum):
    """Who took a receipt; Temporal has it safely then."""

    MESSAGE = "message"
    DEAD_LETTER = "dead_letter"
    """The message is closed and its dead letter open: a late receipt."""
    NOBODY = "nobody"
    """Both are closed, or no such message was ever started."""


class ReceiptNotTaken(Exception):
    """The receipt is not safe with Temporal; the text says why. Try again later."""


class ReceiptRefused(ReceiptNotTaken):
    """Temporal answers, and refuses this one receipt; others it may well take."""


_REFUSALS = frozenset(
    {
        RPCStatusCode.INVALID_ARGUMENT,  # such as a workflow that has had 10,000 signals
        RPCStatusCode.FAILED_PRECONDITION,
        RPCStatusCode.OUT_OF_RANGE,
        RPCStatusCode.ALREADY_EXISTS,
        RPCStatusCode.DATA_LOSS,
    }
)


class Receipts:
    """Signals receipts; `deliver` is the one way from here into Temporal."""

    def __init__(self, client: Client, *, timeout: timedelta) -> None:
        self._client = client
        self._timeout = timeout

    async def deliver(self, message_id: str, status: DeliveryStatus) -> Taker:
        """Signal the message, or else its dead letter.

        Raises:
            ReceiptRefused: Temporal will not take this one.
            ReceiptNotTaken: not within the timeout, or for any reason but that they are closed.
        """
        # The client's own timeout is for one try; it goes on trying for about ten seconds, and
        # waits for a first connection without any limit.
        try:
            async with asyncio.timeout(self._timeout.total_seconds()):
                if await self._signal(message_workflow_id(message_id), status):
                    return Taker.MESSAGE
                if await self._signal(dead_letter_workflow_id(message_id), status):
                    return Taker.DEAD_LETTER
                return Taker.NOBODY
        except TimeoutError:
            raise ReceiptNotTaken("Temporal did not answer in time") from None
        except RPCError as error:
            refused = ReceiptRefused if error.status in _REFUSALS else ReceiptNotTaken
            raise refused(f"Temporal answered {error.status.name}") from error
        except RuntimeError as error:  # what a lazy client raises when it cannot connect
            raise ReceiptNotTaken("Temporal cannot be reached") from error

    async def answers(self) -> bool:
        """Whether Temporal, and in it our namespace, can be reached now."""
        try:
            async with asyncio.timeout(self._timeout.total_seconds()):
                await self._client.workflow_service.describe_namespace(
                    DescribeNamespaceRequest(namespace=self._client.namespace),
                    timeout=self._timeout,
                )
        except (TimeoutError, RPCError, RuntimeError):  # see `deliver`
            return False
        return True

    async def _signal(self, workflow_id: str, status: DeliveryStatus) -> bool:
        """Whether there was such an open workflow."""
        handle = self._client.get_workflow_handle(workflow_id)
        try:
            await handle.signal(DELIVERY_STATUS_SIGNAL, status, rpc_timeout=self._timeout)
        except RPCError as error:
            if _is_workflow_missing(error):
                return False
            raise
        return True


def _is_workflow_missing(error: RPCError) -> bool:
    """Whether the workflow is closed or unknown; a missing *namespace* is NOT_FOUND as well."""
    return error.status is RPCStatusCode.NOT_FOUND and any(
        detail.Is(NotFoundFailure.DESCRIPTOR) for detail in error.grpc_status.details
    )
