"""Measures what concerns the whole system: backlogs, holds, dead letters and workers.

Every webhook process reads the same database and the same Temporal, so all show the same: take the
maximum, not the sum. The queries are small, and nothing that sends waits for them.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Final

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError

from signedfor import metric_labels
from signedfor.background import in_background
from signedfor.contract import DEAD_LETTER, MESSAGES_QUEUE, OPEN, TWILIO_SENDS_QUEUE
from signedfor.contract.failures import FailureClass
from signedfor.logging import RateLimitedLogger, log_unexpected
from signedfor.search_attributes import FAILURE_CLASS, MESSAGE_STATUS
from signedfor.store.account_hold import AccountHold
from signedfor.store.database import DatabaseUnavailable
from signedfor.store.rate_limiter import RateLimiter, SenderState
from signedfor.twilio.rates import SenderKind
from webhook.metrics import Metrics
from webhook.resilience import DatabaseThreads

_log = logging.getLogger(__name__)

POLL_SECONDS: Final = 15.0
"""As often as Prometheus usually collects."""
_POLL_AGE: Final = timedelta(minutes=2)
"""A worker polls about once a minute; one that has not polled for longer is gone."""
_OPEN_LETTERS = f"WorkflowType = '{DEAD_LETTER}' AND {MESSAGE_STATUS.name} = '{OPEN}'"
_QUEUES: Final = (
    (MESSAGES_QUEUE, TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, "workflow"),
    (MESSAGES_QUEUE, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY, "activity"),
    (TWILIO_SENDS_QUEUE, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY, "activity"),
)


class SystemGauges:
    """Keeps the gauges of the whole system up to date."""

    def __init__(
        self,
        *,
        rate_limiter: RateLimiter,
        account_hold: AccountHold,
        client: Client,
        threads: DatabaseThreads,
        metrics: Metrics,
        timeout: timedelta,
    ) -> None:
        self._rate_limiter = rate_limiter
        self._account_hold = account_hold
        self._client = client
        self._threads = threads
        self._metrics = metrics
        self._timeout = timeout
        self._warnings = RateLimitedLogger(_log)

    def running(self) -> AbstractAsyncContextManager[None]:
        """Poll while the context is open."""
        return in_background(
            self._run("database", self._database), self._run("temporal", self._temporal)
        )

    async def _run(self, source: str, poll: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await poll()
                self._metrics.polled_timestamp_seconds.labels(source).set_to_current_time()
            except (DatabaseUnavailable, RPCError, RuntimeError) as error:
                # A lazy client that cannot connect raises a RuntimeError. Their texts may quote.
                self._warnings.warning(
                    "The gauges that are read from %s are old: %s", source, type(error).__name__
                )
            except Exception as error:  # noqa: BLE001 - a defect must not end the polling
                log_unexpected(_log, error)
            await asyncio.sleep(POLL_SECONDS)

    async def _database(self) -> None:
        senders = await self._threads.run(self._rate_limiter.states)
        self._show_senders(senders)
        hold = await self._threads.run(self._account_hold.find)
        self._metrics.account_held.set(hold is not None)

    def _show_senders(self, senders: list[SenderState]) -> None:
        by_kind: dict[str, list[SenderState]] = {kind.value: [] for kind in SenderKind}
        for state in senders:
            by_kind[metric_labels.sender_kind(state.sender)].append(state)
        for kind, states in by_kind.items():
            self._metrics.backlog_seconds.labels(kind).set(
                max((each.backlog.total_seconds() for each in states), default=0.0)
            )
            self._metrics.backlog_segments.labels(kind).set(
                sum(each.backlog_segments for each in states)
            )
            self._metrics.borrowed_segments.labels(kind).set(
                sum(each.urgent_segments for each in states)
            )
            self._metrics.senders_paused.labels(kind).set(sum(each.is_paused for each in states))

    async def _temporal(self) -> None:
        for queue, kind, label in _QUEUES:
            described = await self._client.workflow_service.describe_task_queue(
                DescribeTaskQueueRequest(
                    namespace=self._client.namespace,
                    task_queue=TaskQueue(name=queue),
                    task_queue_type=kind,
                    report_stats=True,
                ),
                timeout=self._timeout,
            )
            since = datetime.now(UTC) - _POLL_AGE
            workers = {
                poller.identity
                for poller in described.pollers
                if poller.last_access_time.ToDatetime(UTC) > since
            }
            stats = described.stats
            self._metrics.workers.labels(queue, label).set(len(workers))
            self._metrics.queue_tasks.labels(queue, label).set(stats.approximate_backlog_count)
            self._metrics.queue_oldest_seconds.labels(queue, label).set(
                stats.approximate_backlog_age.ToTimedelta().total_seconds()
            )
        await self._count_dead_letters()

    async def _count_dead_letters(self) -> None:
        """One request while there is none, which is usual."""
        total = await self._count(_OPEN_LETTERS)
        for failure_class in FailureClass:
            count = 0
            if total:
                clause = f"{FAILURE_CLASS.name} = '{failure_class.value}'"
                count = await self._count(f"{_OPEN_LETTERS} AND {clause}")
            self._metrics.dead_letters_open.labels(failure_class.value).set(count)

    async def _count(self, query: str) -> int:
        counted = await self._client.count_workflows(query, rpc_timeout=self._timeout)
        return counted.count
