"""The breaker, in each worker: it counts what becomes of each sender's messages, and looks at all.

Counting costs a message nothing but a lock. The counts of some seconds are added to the database in
one transaction, and then the limits are looked at. A worker that is killed loses those seconds.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Engine

from signedfor.background import in_background
from signedfor.breaker_limits import BreakerLimits, SenderCounts, counts_of
from signedfor.contract import MessageReport
from signedfor.logging import RateLimitedLogger, log_unexpected
from signedfor.masks import masked_sender
from signedfor.prices import Prices, in_micros
from signedfor.store.breakers import Breakers
from signedfor.store.database import DatabaseUnavailable
from signedfor.store.sender_results import Key, SenderResults, minute_of
from signedfor.store.tables import utc_now

_logger = logging.getLogger("signedfor.breaker")
INTERVAL: Final = timedelta(seconds=5)
"""How often counts are added to the database, and looked at."""
_PATIENCE: Final = timedelta(seconds=10)
"""For a look that has begun when the worker stops."""


class Breaker:
    """The breaker of one worker; `accepted` and `ended` may be called from any thread."""

    def __init__(
        self,
        engine: Engine,
        limits: BreakerLimits,
        prices: Prices | None,
        *,
        interval: timedelta = INTERVAL,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._limits = limits
        self._prices = prices
        self._results = SenderResults(engine)
        self._breakers = Breakers(engine, now=now)
        self._interval = interval
        self._now = now
        self._lock = threading.Lock()
        self._pending: dict[Key, SenderCounts] = {}
        self._counts_from: Mapping[str, datetime] = {}
        self._warnings = RateLimitedLogger(_logger)

    def accepted(self, sender: str, to: str, segments: int) -> None:
        """Twilio took a submission to the normalized recipient."""
        price = 0 if self._prices is None else in_micros(self._prices.per_segment(to) * segments)
        self._count(sender, SenderCounts(accepted=1, spent_micros=price))

    def ended(self, sender: str | None, report: MessageReport) -> None:
        """A message of the sender has ended; None: it had none, and was not tried."""
        if sender is None:
            return
        counts = counts_of(report)
        lifted_at = self._counts_from.get(sender)
        tried_at = report.submitted_at or report.finished_at
        # The receipts of what was sent before a pause come after it too.
        if counts is not None and (lifted_at is None or tried_at > lifted_at):
            self._count(sender, counts)

    def _count(self, sender: str, counts: SenderCounts) -> None:
        if self._limits.has_any:
            self._add({(sender, minute_of(self._now())): counts})

    def _add(self, counts: Mapping[Key, SenderCounts]) -> None:
        with self._lock:
            for key, each in counts.items():
                self._pending[key] = self._pending.get(key, SenderCounts()) + each

    def look(self) -> None:
        """Add what is counted to the database, and pause the senders that have reached a limit.

        Raises:
            DatabaseUnavailable: what is counted is added later.
        """
        self._write()
        self._counts_from = self._breakers.counts_from()
        for each in self._breakers.open_reached(self._limits):
            _logger.error(
                "The breaker has paused the sender %s: %s Its messages wait until you resume it: "
                "docs/how-to/breaker.md",
                masked_sender(each.sender),
                each.because,
            )

    def _write(self) -> None:
        with self._lock:
            counts, self._pending = self._pending, {}
        if counts:
            try:
                self._results.add(counts)
            except Exception:
                # If only the commit's answer was lost, these are counted twice.
                self._add(counts)
                raise

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Look every few seconds while the context is open, and once more at its end."""
        if not self._limits.has_any:
            yield
            return
        # Before anything ends: what was sent before the last resume of its sender does not count.
        await self._look()
        stop = asyncio.Event()
        try:
            async with in_background(self._look_until(stop), stop=stop.set, patience=_PATIENCE):
                yield
        finally:
            await self._look()

    async def _look_until(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval.total_seconds()):
                    await stop.wait()
                    return
            await self._look()

    async def _look(self) -> None:
        try:
            await asyncio.to_thread(self.look)
        except DatabaseUnavailable as error:
            self._warnings.warning("Results of messages are counted later: %s", error)
        except Exception as error:  # noqa: BLE001 - a defect must not end the watch
            log_unexpected(_logger, error)
