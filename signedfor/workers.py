"""Which workers there are, and whether each of them runs, as far as Temporal has heard of it.

Temporal keeps the last heartbeat of every worker process, and whether it has ended. Heartbeats come
from the SDK's own threads, so an event loop that hangs shows in the clock checks, which a worker
makes from there.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from temporalio.api.enums.v1 import TaskQueueType, WorkerStatus
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.worker.v1 import WorkerHeartbeat
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest, ListWorkersRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from signedfor.contract import MESSAGES_QUEUE, TWILIO_SENDS_QUEUE
from signedfor.temporal import HEARTBEAT_INTERVAL, ClockCheck, last_clock_checks
from signedfor.worker_checks import CHECK_INTERVAL

MAX_SILENCE: Final = 3 * HEARTBEAT_INTERVAL
"""A worker whose process has sent no heartbeat for so long was frozen or killed."""
MAX_CHECK_AGE: Final = 3 * CHECK_INTERVAL
"""One that heartbeats, but has not compared its clock for so long, has an event loop that hangs."""
_FORGOTTEN: Final = timedelta(days=1)
"""Temporal may list a worker that was killed for longer."""
_RPC_TIMEOUT = timedelta(seconds=10)


class Condition(StrEnum):
    """Whether a worker runs."""

    RUNNING = "running"
    ENDED = "ended"
    """It stopped in order."""
    SILENT = "silent"
    """Its process was frozen or killed."""
    HANGING = "hanging"
    """Its process runs, but not its event loop."""


@dataclass(frozen=True, kw_only=True)
class WorkerState:
    """A worker of ours, by the name that it has in Temporal."""

    identity: str
    """Process and machine, as in `4711@host`."""
    condition: Condition
    heartbeat_at: datetime
    checked_at: datetime
    """When its event loop last ran for certain."""
    build_id: str


async def list_workers(client: Client) -> list[WorkerState]:
    """The workers of both task queues in the last day, by identity; none if the server cannot tell.

    Raises:
        RPCError: Temporal does not answer, or refuses.
    """
    try:
        listed = await client.workflow_service.list_workers(
            ListWorkersRequest(namespace=client.namespace), timeout=_RPC_TIMEOUT
        )
        checks = await last_clock_checks(client, timeout=_RPC_TIMEOUT)
    except RPCError as error:
        if error.status in {RPCStatusCode.UNIMPLEMENTED, RPCStatusCode.PERMISSION_DENIED}:
            return []  # an older server
        raise
    by_identity: dict[str, list[WorkerHeartbeat]] = {}
    for each in listed.workers_info:
        heartbeat = each.worker_heartbeat
        if heartbeat.task_queue in {MESSAGES_QUEUE, TWILIO_SENDS_QUEUE}:
            by_identity.setdefault(heartbeat.worker_identity, []).append(heartbeat)
    states = [
        _state(identity, heartbeats, check=checks.get(identity))
        for identity, heartbeats in sorted(by_identity.items())
    ]
    return [each for each in states if datetime.now(UTC) - each.heartbeat_at < _FORGOTTEN]


async def keys_of_workers(client: Client) -> dict[str, tuple[str, ...]]:
    """The keys of each worker that asks for messages, by its identity; see `ClockCheck`.

    A new worker shows at once: it compares its clock before it asks. One that was killed shows for
    as long as `MAX_CHECK_AGE`.

    Raises:
        RPCError: Temporal does not answer.
    """
    checks = await last_clock_checks(client, timeout=_RPC_TIMEOUT)
    gone = {
        each.identity
        for each in await list_workers(client)
        if each.condition in {Condition.ENDED, Condition.SILENT}
    }
    since = datetime.now(UTC) - MAX_CHECK_AGE
    return {
        identity: checks[identity].keys
        for identity in await _pollers(client) - gone
        if identity in checks and checks[identity].at > since
    }


async def has_pollers(client: Client) -> bool:
    """Whether some worker asks for work on the queue of messages, or has within five minutes.

    Unlike the workers' heartbeats, every server knows it, and a new worker shows at once.

    Raises:
        RPCError: Temporal does not answer.
    """
    return bool(await _pollers(client))


async def _pollers(client: Client) -> set[str]:
    described = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace,
            task_queue=TaskQueue(name=MESSAGES_QUEUE),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        ),
        timeout=_RPC_TIMEOUT,
    )
    return {each.identity for each in described.pollers}


def _state(
    identity: str, heartbeats: list[WorkerHeartbeat], *, check: ClockCheck | None
) -> WorkerState:
    """One process has a worker for each task queue, and new ones after each hold."""
    running = [each for each in heartbeats if each.status == WorkerStatus.WORKER_STATUS_RUNNING]
    newest = max(running or heartbeats, key=lambda each: each.heartbeat_time.ToDatetime())
    heartbeat_at = newest.heartbeat_time.ToDatetime(UTC)
    checked_at = check.at if check else newest.start_time.ToDatetime(UTC)
    now = datetime.now(UTC)
    if not running:
        condition = Condition.ENDED
    elif now - heartbeat_at > MAX_SILENCE:
        condition = Condition.SILENT
    elif now - checked_at > MAX_CHECK_AGE:
        condition = Condition.HANGING
    else:
        condition = Condition.RUNNING
    return WorkerState(
        identity=identity,
        condition=condition,
        heartbeat_at=heartbeat_at,
        checked_at=checked_at,
        build_id=newest.deployment_version.build_id,
    )
