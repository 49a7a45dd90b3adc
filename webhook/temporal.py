"""The webhook's calls to Temporal: signals with receipts, and workflows for inbound messages."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from temporalio.api.errordetails.v1 import NotFoundFailure
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from signedfor.client import CONFLICT_POLICY, REUSE_POLICY
from signedfor.contract import (
    DELIVERY_STATUS_SIGNAL,
    MESSAGES_QUEUE,
    DeliveryStatus,
    InboundMessage,
    dead_letter_workflow_id,
    inbound_workflow_id,
    message_workflow_id,
)
from signedfor.inbound import (
    INBOUND_PRIORITY,
    RECORD_INBOUND_WORKFLOW,
    InboundRecord,
    record_inbound_workflow_id,
)
from signedfor.temporal import TemporalUnavailable, describe_namespace


class SignalTarget(StrEnum):
    """The workflow that received a signal."""

    MESSAGE = "message"
    DEAD_LETTER = "dead_letter"
    """The message is closed and its dead letter is open: a late receipt."""
    NONE = "none"
    """Both are closed, or there was never such a message: no workflow waits for it."""


@dataclass(frozen=True)
class Signaled:
    """The target has the signal."""

    target: SignalTarget


@dataclass(frozen=True)
class Started:
    """The workflow is running, or has run already."""


@dataclass(frozen=True)
class Rejected:
    """Temporal is available and rejects this particular call."""

    reason: str


@dataclass(frozen=True)
class Unavailable:
    """Temporal did not answer, or could not accept the call now: try again later."""

    reason: str


_REJECTIONS = frozenset(
    {
        RPCStatusCode.INVALID_ARGUMENT,  # such as a workflow that has had 10,000 signals
        RPCStatusCode.FAILED_PRECONDITION,
        RPCStatusCode.OUT_OF_RANGE,
        RPCStatusCode.ALREADY_EXISTS,
        RPCStatusCode.DATA_LOSS,
    }
)


class StatusSignals:
    """Sends the `delivery_status` signal."""

    def __init__(self, client: Client, *, timeout: timedelta) -> None:
        self._client = client
        self._timeout = timeout

    async def send(
        self, message_id: str, status: DeliveryStatus
    ) -> Signaled | Rejected | Unavailable:
        """Signal the message or, if that is closed, its dead letter."""
        # The client's own timeout is per attempt; it retries for about ten seconds, and waits for
        # a first connection without any limit.
        try:
            async with asyncio.timeout(self._timeout.total_seconds()):
                if await self._signal(message_workflow_id(message_id), status):
                    return Signaled(SignalTarget.MESSAGE)
                if await self._signal(dead_letter_workflow_id(message_id), status):
                    return Signaled(SignalTarget.DEAD_LETTER)
                return Signaled(SignalTarget.NONE)
        except (TimeoutError, RPCError, RuntimeError) as error:
            return _failure(error)

    async def is_temporal_available(self) -> bool:
        """Whether Temporal and our namespace can be reached now."""
        try:
            await describe_namespace(self._client, timeout=self._timeout)
        except TemporalUnavailable:
            return False
        return True

    async def _signal(self, workflow_id: str, status: DeliveryStatus) -> bool:
        """Whether the workflow is open and has the signal."""
        handle = self._client.get_workflow_handle(workflow_id)
        try:
            await handle.signal(DELIVERY_STATUS_SIGNAL, status, rpc_timeout=self._timeout)
        except RPCError as error:
            if _is_workflow_missing(error):
                return False
            raise
        return True


class InboundRecorder:
    """Starts a workflow that records an inbound message once the database is available."""

    def __init__(self, client: Client, *, timeout: timedelta) -> None:
        self._client = client
        self._timeout = timeout

    async def start(self, record: InboundRecord) -> Started | Rejected | Unavailable:
        """Start it; the message SID makes this idempotent."""
        try:
            async with asyncio.timeout(self._timeout.total_seconds()):
                await self._client.start_workflow(
                    RECORD_INBOUND_WORKFLOW,
                    record,
                    id=record_inbound_workflow_id(record.message_sid),
                    task_queue=MESSAGES_QUEUE,
                    id_conflict_policy=CONFLICT_POLICY,
                    id_reuse_policy=REUSE_POLICY,
                    priority=INBOUND_PRIORITY,
                    rpc_timeout=self._timeout,
                )
        except WorkflowAlreadyStartedError:
            pass
        except (TimeoutError, RPCError, RuntimeError) as error:
            return _failure(error)
        return Started()


class InboundWorkflows:
    """Starts the service's own workflow for an inbound message, once for each."""

    def __init__(
        self, client: Client, *, workflow_type: str, task_queue: str, timeout: timedelta
    ) -> None:
        self._client = client
        self._workflow_type = workflow_type
        self._task_queue = task_queue
        self._timeout = timeout

    async def start(self, message: InboundMessage) -> Started | Rejected | Unavailable:
        """Start it, whether or not a worker runs; a second start changes nothing.

        That holds for as long as the namespace keeps closed workflows.
        """
        try:
            async with asyncio.timeout(self._timeout.total_seconds()):
                await self._client.start_workflow(
                    self._workflow_type,
                    message,
                    id=inbound_workflow_id(message.message_sid),
                    task_queue=self._task_queue,
                    id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                    id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                    rpc_timeout=self._timeout,
                )
        except WorkflowAlreadyStartedError:
            pass
        except (TimeoutError, RPCError, RuntimeError) as error:
            return _failure(error)
        return Started()


def _failure(error: TimeoutError | RPCError | RuntimeError) -> Rejected | Unavailable:
    if isinstance(error, RPCError):
        kind = Rejected if error.status in _REJECTIONS else Unavailable
        return kind(f"Temporal answered {error.status.name}")
    if isinstance(error, TimeoutError):
        return Unavailable("Temporal did not answer in time")
    return Unavailable("Temporal cannot be reached")  # a lazy client that cannot connect


def _is_workflow_missing(error: RPCError) -> bool:
    """Whether the workflow is closed or unknown; a missing *namespace* is NOT_FOUND as well."""
    return error.status is RPCStatusCode.NOT_FOUND and any(
        detail.Is(NotFoundFailure.DESCRIPTOR) for detail in error.grpc_status.details
    )
