"""Takes receipts from the inbox to the workflows that wait for them, once Temporal is back."""

import asyncio
import contextlib
import logging
import traceback
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Final

from pydantic import ValidationError

from signedfor.retry import Backoff
from signedfor.store.database import DatabaseUnavailable
from signedfor.store.inbox import Inbox, KeptReceipt
from webhook.breaker import Breaker
from webhook.inbox import ReceiptInbox
from webhook.metrics import Metrics
from webhook.signals import ReceiptNotTaken, ReceiptRefused, Receipts
from webhook.sparing import SparingLog
from webhook.threads import DatabaseThreads

_log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 3.0
"""Between two looks into an inbox that is empty as far as this process knows: one small query."""
AWAY_SECONDS: Final = 1.0
"""Between two questions whether Temporal is back."""
_BATCH = 100
_AT_A_TIME = 20
"""Messages; the receipts of one go one after the other."""
_LEASE = timedelta(seconds=30)
"""Longer than a batch should take: a receipt has three seconds, and twenty go at a time. One that
takes longer may be offered twice, which changes nothing."""
_STOP_SECONDS = 4.0
"""For what is on its way when the process ends; a lease covers what is not settled by then."""

_AGAIN = Backoff(
    initial=timedelta(seconds=5), factor=2.0, maximum=timedelta(minutes=10), jitter=0.2
)
"""When a receipt that Temporal refuses is offered again."""
_SOON_AGAIN = Backoff(
    initial=timedelta(seconds=1), factor=2.0, maximum=timedelta(seconds=20), jitter=0.2
)
"""When one is offered again for which Temporal had no answer though it answers otherwise."""


@dataclass(frozen=True)
class _Round:
    """What became of one batch, by row id."""

    done: list[int] = field(default_factory=list)
    refused: list[KeptReceipt] = field(default_factory=list)
    unanswered: list[KeptReceipt] = field(default_factory=list)
    behind: list[int] = field(default_factory=list)
    """Those of a message whose earlier receipt was unanswered: not tried, to keep the order.
    Released, they wait for as long as that one is held."""


class Drainer:
    """Empties the inbox in the background, in order a message."""

    def __init__(
        self,
        *,
        inbox: Inbox,
        known: ReceiptInbox,
        receipts: Receipts,
        breaker: Breaker,
        threads: DatabaseThreads,
        metrics: Metrics,
    ) -> None:
        self._inbox = inbox
        self._known = known
        self._receipts = receipts
        self._breaker = breaker
        self._threads = threads
        self._metrics = metrics
        self._stopping = asyncio.Event()
        self._warnings = SparingLog(_log)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Drain while the context is open; what is on its way at its end is waited for briefly."""
        task = asyncio.create_task(self._run(), name="inbox")
        try:
            yield
        finally:
            self._stopping.set()
            self._known.filled.set()
            _, late = await asyncio.wait([task], timeout=_STOP_SECONDS)
            for each in late:
                each.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                pause = await self._step()
            except DatabaseUnavailable as error:
                self._warnings.warning("The inbox cannot be read: %s", error)
                pause = LOOK_SECONDS
            except Exception as error:  # noqa: BLE001 - a defect here must not end the draining
                places = "".join(traceback.format_tb(error.__traceback__))
                _log.error("A defect: %s, passed through\n%s", type(error).__name__, places)
                pause = LOOK_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await (self._stopping if self._breaker.is_open else self._known.filled).wait()

    async def _step(self) -> float:
        """Do what can be done now; the seconds until there may be more to do."""
        self._known.filled.clear()
        if self._breaker.is_open:
            if not await self._receipts.answers():
                self._breaker.trip()
                await self._known.look()
                return AWAY_SECONDS
            self._breaker.reset()
        if not await self._known.look():
            return LOOK_SECONDS
        while not self._stopping.is_set() and not self._breaker.is_open:
            batch = await self._threads.run(self._inbox.take, most=_BATCH, lease=_LEASE)
            if not batch:
                return LOOK_SECONDS  # what is there is postponed, or another process has it
            await self._settle(await self._offer(batch))
            await self._known.look()
        return AWAY_SECONDS

    async def _offer(self, batch: Sequence[KeptReceipt]) -> _Round:
        """Offer each message its receipts, one after the other; several messages at a time."""
        outcome = _Round()
        turns = asyncio.Semaphore(_AT_A_TIME)
        by_message = sorted(batch, key=lambda each: (each.message_id, each.id))

        async def offer(receipts: list[KeptReceipt]) -> None:
            async with turns:
                for place, receipt in enumerate(receipts):
                    if not await self._offer_one(receipt, outcome):
                        outcome.behind.extend(each.id for each in receipts[place + 1 :])
                        return

        async with asyncio.TaskGroup() as group:
            for _, receipts in groupby(by_message, key=lambda each: each.message_id):
                group.create_task(offer(list(receipts)))
        return outcome

    async def _offer_one(self, receipt: KeptReceipt, outcome: _Round) -> bool:
        """Whether the next of the same message may follow."""
        try:
            taker = await self._receipts.deliver(receipt.message_id, receipt.delivery_status())
        except (ReceiptRefused, ValidationError) as error:
            why = "no receipt" if isinstance(error, ValidationError) else error
            self._warnings.warning(
                "A receipt for %s stays in the inbox: %s.", receipt.message_id, why
            )
            outcome.refused.append(receipt)
            return True
        except ReceiptNotTaken:
            outcome.unanswered.append(receipt)
            return False
        outcome.done.append(receipt.id)
        self._metrics.inbox_applied.labels(taker).inc()
        return True

    async def _settle(self, outcome: _Round) -> None:
        now = datetime.now(UTC)
        postponed = {each.id: now + _AGAIN.wait(each.refusals + 1) for each in outcome.refused}
        held: dict[int, datetime] = {}
        released = list(outcome.behind)
        if outcome.unanswered and await self._receipts.answers():
            # It is these receipts then: other messages must not wait for them. Later receipts of
            # their own message must, or `delivered` would pass the `undelivered` before it.
            held = {
                each.id: now + _SOON_AGAIN.wait(each.refusals + 1) for each in outcome.unanswered
            }
        elif outcome.unanswered:
            self._breaker.trip()
            released += [each.id for each in outcome.unanswered]
        self._metrics.inbox_applied.labels("refused").inc(len(outcome.refused))
        await self._threads.run(
            self._inbox.settle,
            done=outcome.done,
            postponed=postponed,
            held=held,
            released=released,
        )
        if outcome.done:
            _log.info("Took %d receipts from the inbox to their workflows.", len(outcome.done))
