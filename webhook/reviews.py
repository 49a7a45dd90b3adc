"""Measures how many inbound messages await review, and how long the oldest has."""

import asyncio
import logging
import time
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Final

from signedfor.background import in_background
from signedfor.logging import RateLimitedLogger, log_unexpected
from signedfor.store.database import DatabaseUnavailable
from signedfor.store.inbound import InboundMessages
from webhook.metrics import Metrics
from webhook.resilience import DatabaseThreads

_log = logging.getLogger(__name__)

POLL_SECONDS: Final = 15.0
"""As often as Prometheus usually collects; an index holds the pending ones only."""


class PendingReviews:
    """Keeps the gauges of pending reviews up to date; all processes see the same database."""

    def __init__(
        self,
        inbound_messages: InboundMessages,
        *,
        threads: DatabaseThreads,
        metrics: Metrics,
    ) -> None:
        self._inbound_messages = inbound_messages
        self._threads = threads
        self._metrics = metrics
        self._oldest: datetime | None = None
        self._warnings = RateLimitedLogger(_log)
        metrics.reviews_oldest_seconds.set_function(self._oldest_age)

    def running(self) -> AbstractAsyncContextManager[None]:
        """Poll while the context is open."""
        return in_background(self._run())

    async def _run(self) -> None:
        while True:
            try:
                pending = await self._threads.run(self._inbound_messages.pending_reviews)
                self._oldest = pending.oldest
                self._metrics.reviews_pending.set(pending.count)
            except DatabaseUnavailable as error:
                self._warnings.warning("The pending reviews cannot be counted: %s", error)
            except Exception as error:  # noqa: BLE001 - a defect must not end the polling
                log_unexpected(_log, error)
            await asyncio.sleep(POLL_SECONDS)

    def _oldest_age(self) -> float:
        return max(0.0, time.time() - self._oldest.timestamp()) if self._oldest else 0.0
