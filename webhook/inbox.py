"""The callback inbox: receipts go there while Temporal is unavailable, and are delivered later."""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Final, assert_never

from pydantic import ValidationError

from signedfor.background import in_background
from signedfor.contract import DeliveryStatus
from signedfor.logging import RateLimitedLogger, log_unexpected
from signedfor.retry import Backoff
from signedfor.store.database import DatabaseUnavailable
from signedfor.store.inbox import Inbox, QueuedReceipt
from webhook.metrics import Metrics
from webhook.resilience import CircuitBreaker, DatabaseThreads
from webhook.temporal import Rejected, Signaled, StatusSignals, Unavailable

_log = logging.getLogger(__name__)

MAX_MESSAGE_IDS: Final = 10_000
"""If more messages than that have receipts in the inbox, every message is assumed to have some."""
POLL_SECONDS: Final = 3.0
"""Between two polls of an inbox that is empty as far as this process knows: one small query."""
PROBE_SECONDS: Final = 1.0
"""Between two checks whether Temporal is available again."""
_BATCH_SIZE = 100
_CONCURRENCY = 20
"""Messages; the receipts of one message are delivered one after the other."""
_LEASE = timedelta(seconds=30)
"""Longer than a batch should take: three seconds per receipt, twenty at a time. A receipt that
takes longer may be delivered twice, which changes nothing."""
_PATIENCE = timedelta(seconds=4)
"""For deliveries in flight when the process ends; leases cover those that are not settled then."""

_REJECTED_BACKOFF = Backoff(
    initial=timedelta(seconds=5), factor=2.0, maximum=timedelta(minutes=10), jitter=0.2
)
"""Before the next delivery of a receipt that Temporal rejects."""
_UNANSWERED_BACKOFF = Backoff(
    initial=timedelta(seconds=1), factor=2.0, maximum=timedelta(seconds=20), jitter=0.2
)
"""Before the next delivery of a receipt that got no answer although Temporal is available."""


@dataclass(eq=False)
class _Write:
    """A receipt that is being written to the database."""

    message_id: str
    status: DeliveryStatus
    is_stored: bool = False
    failure: str | None = None


class CallbackInbox:
    """Writes receipts to the inbox in batches, and knows which messages have receipts there.

    That knowledge costs no query per callback: it is what this process wrote itself and what
    `refresh` found, so it may be seconds behind another process. That is safe because statuses have
    ranks and a workflow accepts them in any order; only of two final ones the first counts.
    """

    def __init__(self, inbox: Inbox, *, threads: DatabaseThreads, metrics: Metrics) -> None:
        self.filled = asyncio.Event()
        """Set when a receipt was written; the drainer clears it."""
        self._inbox = inbox
        self._threads = threads
        self._metrics = metrics
        self._found: frozenset[str] | None = frozenset()
        # Written since the last refresh started, and since the one in progress started: a refresh
        # must not discard what it may have started too early to see.
        self._written: set[str] = set()
        self._written_during_refresh: set[str] = set()
        self._in_flight: Counter[str] = Counter()
        self._queue: list[_Write] = []
        self._writing = asyncio.Lock()
        self._oldest: datetime | None = None
        metrics.inbox_oldest_seconds.set_function(self._oldest_age)

    def may_hold(self, message_id: str) -> bool:
        """Whether receipts of this message may be in the inbox; later ones must queue behind."""
        return self._found is None or message_id in self._found or message_id in self._written

    async def put(self, message_id: str, status: DeliveryStatus) -> None:
        """Return when the receipt is committed.

        Receipts that arrive during a transaction share the next one: in an outage every callback
        comes here, and a transaction for each would be more than a disk can do.

        Raises:
            DatabaseUnavailable: it is not stored.
        """
        write = _Write(message_id, status)
        self._written.add(message_id)
        self._written_during_refresh.add(message_id)
        self._in_flight[message_id] += 1
        self._queue.append(write)
        try:
            async with self._writing:
                if not write.is_stored and write.failure is None:
                    await self._write_queue()
        finally:
            self._in_flight -= Counter([message_id])
        if write.failure is not None:
            raise DatabaseUnavailable(write.failure)
        self.filled.set()

    async def refresh(self) -> int:
        """Read which messages have receipts, for `may_hold` and the metrics; return the backlog."""
        self._written_during_refresh = set(self._in_flight)
        backlog = await self._threads.run(self._inbox.backlog)
        found: frozenset[str] | None = frozenset()
        if backlog.count:
            found = await self._threads.run(self._inbox.message_ids, limit=MAX_MESSAGE_IDS)
        self._found, self._written = found, self._written_during_refresh
        self._oldest = backlog.oldest
        self._metrics.inbox_receipts.set(backlog.count)
        return backlog.count

    async def _write_queue(self) -> None:
        batch, self._queue = self._queue, []
        try:
            await self._threads.run(
                self._inbox.put, [(write.message_id, write.status) for write in batch]
            )
        except DatabaseUnavailable as error:
            for write in batch:
                write.failure = str(error)
        except BaseException:
            # It is not known whether they were committed: the next writer writes them (again).
            self._queue = batch + self._queue
            raise
        else:
            for write in batch:
                write.is_stored = True

    def _oldest_age(self) -> float:
        return max(0.0, time.time() - self._oldest.timestamp()) if self._oldest else 0.0


@dataclass(frozen=True)
class _BatchResult:
    """The result of one batch, by row id."""

    delivered: list[int] = field(default_factory=list)
    rejected: list[QueuedReceipt] = field(default_factory=list)
    unanswered: list[QueuedReceipt] = field(default_factory=list)
    blocked: list[int] = field(default_factory=list)
    """Behind an unanswered receipt of the same message: not attempted, to keep the order. They are
    released and wait for as long as that one is held."""


class InboxDrainer:
    """Delivers the receipts in the inbox in the background, in order per message."""

    def __init__(
        self,
        *,
        inbox: Inbox,
        callback_inbox: CallbackInbox,
        signals: StatusSignals,
        breaker: CircuitBreaker,
        threads: DatabaseThreads,
        metrics: Metrics,
    ) -> None:
        self._inbox = inbox
        self._callback_inbox = callback_inbox
        self._signals = signals
        self._breaker = breaker
        self._threads = threads
        self._metrics = metrics
        self._stopping = asyncio.Event()
        self._warnings = RateLimitedLogger(_log)

    def running(self) -> AbstractAsyncContextManager[None]:
        """Drain while the context is open; then wait briefly for deliveries in flight."""
        return in_background(self._run(), stop=self._stop, patience=_PATIENCE)

    def _stop(self) -> None:
        self._stopping.set()
        self._callback_inbox.filled.set()

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                pause = await self._drain()
            except DatabaseUnavailable as error:
                self._warnings.warning("The inbox cannot be read: %s", error)
                pause = POLL_SECONDS
            except Exception as error:  # noqa: BLE001 - a defect must not end the draining
                log_unexpected(_log, error)
                pause = POLL_SECONDS
            wake_up = self._stopping if self._breaker.is_open else self._callback_inbox.filled
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await wake_up.wait()

    async def _drain(self) -> float:
        """Deliver what can be delivered now; return the seconds until the next attempt."""
        self._callback_inbox.filled.clear()
        if self._breaker.is_open:
            if not await self._signals.is_temporal_available():
                self._breaker.trip()
                await self._callback_inbox.refresh()
                return PROBE_SECONDS
            self._breaker.reset()
        if not await self._callback_inbox.refresh():
            return POLL_SECONDS
        while not self._stopping.is_set() and not self._breaker.is_open:
            batch = await self._threads.run(self._inbox.lease, limit=_BATCH_SIZE, duration=_LEASE)
            if not batch:
                return POLL_SECONDS  # the rest is postponed, or leased to another process
            await self._settle(await self._deliver(batch))
            await self._callback_inbox.refresh()
        return PROBE_SECONDS

    async def _deliver(self, batch: Sequence[QueuedReceipt]) -> _BatchResult:
        """Deliver several messages' receipts concurrently, each message's in order."""
        result = _BatchResult()
        limit = asyncio.Semaphore(_CONCURRENCY)
        by_message = sorted(batch, key=lambda each: (each.message_id, each.id))

        async def deliver(receipts: list[QueuedReceipt]) -> None:
            async with limit:
                for index, receipt in enumerate(receipts):
                    if not await self._deliver_one(receipt, result):
                        result.blocked.extend(each.id for each in receipts[index + 1 :])
                        return

        async with asyncio.TaskGroup() as group:
            for _, receipts in groupby(by_message, key=lambda each: each.message_id):
                group.create_task(deliver(list(receipts)))
        return result

    async def _deliver_one(self, receipt: QueuedReceipt, result: _BatchResult) -> bool:
        """Whether the next receipt of the same message may follow."""
        match await self._send(receipt):
            case Signaled(target):
                result.delivered.append(receipt.id)
                self._metrics.inbox_applied.labels(target).inc()
                return True
            case Rejected(reason):
                self._warnings.warning(
                    "A receipt for %s stays in the inbox: %s.", receipt.message_id, reason
                )
                result.rejected.append(receipt)
                return True
            case Unavailable():
                result.unanswered.append(receipt)
                return False
            case other:
                assert_never(other)

    async def _send(self, receipt: QueuedReceipt) -> Signaled | Rejected | Unavailable:
        try:
            status = receipt.delivery_status()
        except ValidationError:
            return Rejected("it is not valid")
        return await self._signals.send(receipt.message_id, status)

    async def _settle(self, result: _BatchResult) -> None:
        now = datetime.now(UTC)
        postponed = {
            each.id: now + _REJECTED_BACKOFF.wait(each.failed_attempts + 1)
            for each in result.rejected
        }
        held: dict[int, datetime] = {}
        released = list(result.blocked)
        if result.unanswered and await self._signals.is_temporal_available():
            # Then only these receipts have a problem, and other messages need not wait. Later
            # receipts of the same message must, or `delivered` would overtake `undelivered`.
            held = {
                each.id: now + _UNANSWERED_BACKOFF.wait(each.failed_attempts + 1)
                for each in result.unanswered
            }
        elif result.unanswered:
            self._breaker.trip()
            released += [each.id for each in result.unanswered]
        self._metrics.inbox_applied.labels("rejected").inc(len(result.rejected))
        await self._threads.run(
            self._inbox.settle,
            delivered=result.delivered,
            postponed=postponed,
            held=held,
            released=released,
        )
        if result.delivered:
            _log.info("Delivered %d receipts from the inbox.", len(result.delivered))
