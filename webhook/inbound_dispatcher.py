"""Starts the service's workflow for each inbound message, in the background.

The answer to Twilio waits for the outbox only. What a crash or an outage of Temporal leaves there,
and what a worker recorded, is found by polling.
"""

import asyncio
import contextlib
import logging
import time
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Final, assert_never

from signedfor.background import in_background
from signedfor.contract import InboundMessage
from signedfor.logging import RateLimitedLogger, log_unexpected
from signedfor.retry import Backoff
from signedfor.store.database import DatabaseUnavailable
from signedfor.store.inbound_outbox import InboundOutbox
from webhook.metrics import Metrics
from webhook.resilience import DatabaseThreads
from webhook.temporal import InboundWorkflows, Rejected, Started, Unavailable

_log = logging.getLogger(__name__)

POLL_SECONDS: Final = 3.0
"""Between two polls of an outbox that is empty as far as this process knows: one small query."""
BATCH_SIZE: Final = 20
"""Workflows that are started at a time: after an outage too, Temporal has others to serve."""
LEASE: Final = timedelta(seconds=20)
"""Longer than a batch takes. After a crash, the messages in it wait this long."""
_REJECTED_WAIT: Final = timedelta(minutes=1)
"""Before the next attempt for a message that Temporal rejects."""
_PATIENCE = timedelta(seconds=4)
"""For starts in flight when the process ends; leases cover those that are not settled then."""
_UNAVAILABLE_BACKOFF = Backoff(
    initial=timedelta(seconds=1), factor=2.0, maximum=timedelta(seconds=10), jitter=0.2
)


class InboundDispatcher:
    """Starts the workflows of the messages in the outbox, oldest first."""

    def __init__(
        self,
        *,
        outbox: InboundOutbox,
        workflows: InboundWorkflows,
        threads: DatabaseThreads,
        metrics: Metrics,
    ) -> None:
        self._outbox = outbox
        self._workflows = workflows
        self._threads = threads
        self._metrics = metrics
        self._filled = asyncio.Event()
        self._stopping = asyncio.Event()
        self._failures = 0
        """Batches in a row that Temporal did not answer."""
        self._oldest: datetime | None = None
        self._warnings = RateLimitedLogger(_log)
        metrics.undispatched_oldest_seconds.set_function(self._oldest_age)

    def wake(self) -> None:
        """A message was put into the outbox."""
        self._filled.set()

    def running(self) -> AbstractAsyncContextManager[None]:
        """Dispatch while the context is open; then wait briefly for starts in flight."""
        return in_background(self._run(), stop=self._stop, patience=_PATIENCE)

    def _stop(self) -> None:
        self._stopping.set()
        self._filled.set()

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._dispatch_all()
            except DatabaseUnavailable as error:
                self._warnings.warning("The inbound outbox cannot be used: %s", error)
            except Exception as error:  # noqa: BLE001 - a defect must not end the dispatching
                log_unexpected(_log, error)
            if self._failures:
                wake_up = self._stopping
                pause = _UNAVAILABLE_BACKOFF.wait(self._failures).total_seconds()
            else:
                wake_up, pause = self._filled, POLL_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await wake_up.wait()

    async def _dispatch_all(self) -> None:
        """Dispatch what is due now, until Temporal does not answer."""
        self._filled.clear()
        while await self._refresh() and not self._stopping.is_set():
            batch = await self._threads.run(self._outbox.lease, limit=BATCH_SIZE, duration=LEASE)
            if not batch:
                return  # the rest is postponed, or leased to another process
            await self._dispatch(batch)
            if self._failures:
                return

    async def _refresh(self) -> int:
        backlog = await self._threads.run(self._outbox.backlog)
        self._oldest = backlog.oldest
        self._metrics.undispatched.set(backlog.count)
        return backlog.count

    async def _dispatch(self, batch: list[InboundMessage]) -> None:
        results = await asyncio.gather(*(self._workflows.start(each) for each in batch))
        started: list[str] = []
        postponed: dict[str, timedelta] = {}
        failures = 0
        for message, result in zip(batch, results, strict=True):
            match result:
                case Started():
                    started.append(message.message_sid)
                case Rejected(reason):
                    self._warnings.warning(
                        "The workflow for inbound message %s was not started: %s.",
                        message.message_sid,
                        reason,
                    )
                    postponed[message.message_sid] = _REJECTED_WAIT
                    self._metrics.dispatched.labels("rejected").inc()
                case Unavailable(reason):
                    self._warnings.warning(
                        "Workflows for inbound messages cannot be started: %s. The messages wait "
                        "in the database.",
                        reason,
                    )
                    postponed[message.message_sid] = timedelta(0)
                    failures += 1
                case other:
                    assert_never(other)
        self._failures = self._failures + 1 if failures else 0
        self._metrics.dispatched.labels("started").inc(len(started))
        await self._threads.run(self._outbox.settle, started=started, postponed=postponed)

    def _oldest_age(self) -> float:
        return max(0.0, time.time() - self._oldest.timestamp()) if self._oldest else 0.0
