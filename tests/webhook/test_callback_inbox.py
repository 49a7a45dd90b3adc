"""The inbox as one webhook process sees it."""

import asyncio
import sqlite3
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.exposition import generate_latest
from sqlalchemy import Engine, event

from signedfor.contract import DeliveryStatus
from signedfor.store.database import DatabaseUnavailable, open_engine
from signedfor.store.inbox import Backlog, Inbox
from tests.webhook.support import SID
from webhook.inbox import MAX_MESSAGE_IDS, CallbackInbox
from webhook.metrics import Metrics
from webhook.resilience import DatabaseThreads

DELIVERED = DeliveryStatus(message_sid=SID, message_status="delivered")


def _callback_inbox(engine: Engine, metrics: Metrics | None = None) -> CallbackInbox:
    return CallbackInbox(
        Inbox(engine), threads=DatabaseThreads(engine), metrics=metrics or Metrics()
    )


async def test_many_at_once_share_transactions(engine: Engine) -> None:
    """A thousand receipts that come together are safe after a few transactions."""
    callback_inbox = _callback_inbox(engine)
    commits: list[object] = []
    event.listen(engine, "commit", commits.append)

    await asyncio.gather(*(callback_inbox.put(f"order-{n}", DELIVERED) for n in range(1000)))

    assert 1000 == Inbox(engine).backlog().count
    assert 5 > len(commits)


async def test_remembers_what_it_put_there(engine: Engine) -> None:
    """A message counts as waiting from before its receipt is written until a look finds none."""
    callback_inbox = _callback_inbox(engine)
    assert not callback_inbox.may_hold("order-1")

    putting = asyncio.create_task(callback_inbox.put("order-1", DELIVERED))
    await asyncio.sleep(0)
    assert callback_inbox.may_hold("order-1")
    await putting
    assert 1 == await callback_inbox.refresh()
    assert callback_inbox.may_hold("order-1")
    assert not callback_inbox.may_hold("order-2")

    inbox = Inbox(engine)
    (taken,) = inbox.lease(limit=1, duration=timedelta(seconds=30))
    inbox.settle(delivered=[taken.id])
    assert 0 == await callback_inbox.refresh()
    assert not callback_inbox.may_hold("order-1")


class _SlowInbox(Inbox):
    """Hands over what it has seen only when it is told to."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.seen, self.proceed = threading.Event(), threading.Event()

    def backlog(self) -> Backlog:
        backlog = super().backlog()
        self.seen.set()
        assert self.proceed.wait(10)
        return backlog


async def test_a_look_forgets_nothing_that_comes_meanwhile(engine: Engine) -> None:
    """A receipt put there after a look has seen the inbox empty still counts as waiting."""
    inbox = _SlowInbox(engine)
    callback_inbox = CallbackInbox(inbox, threads=DatabaseThreads(engine), metrics=Metrics())
    look = asyncio.create_task(callback_inbox.refresh())
    assert await asyncio.to_thread(inbox.seen.wait, 10)
    put = asyncio.create_task(callback_inbox.put("order-1", DELIVERED))
    await asyncio.sleep(0)
    inbox.proceed.set()

    assert 0 == await look
    assert callback_inbox.may_hold("order-1")
    await put
    assert callback_inbox.may_hold("order-1")


class _SlowToKeep(Inbox):
    """Writes only when it is told to."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.asked, self.write = threading.Event(), threading.Event()

    def put(self, receipts: Sequence[tuple[str, DeliveryStatus]]) -> None:
        self.asked.set()
        assert self.write.wait(10)
        super().put(receipts)


async def test_a_look_forgets_nothing_that_is_on_its_way(postgres_url: str) -> None:
    """A receipt whose writing began before the look and ends after it still counts as waiting."""
    engine = open_engine(postgres_url)
    inbox = _SlowToKeep(engine)
    callback_inbox = CallbackInbox(inbox, threads=DatabaseThreads(engine), metrics=Metrics())
    put = asyncio.create_task(callback_inbox.put("order-1", DELIVERED))
    assert await asyncio.to_thread(inbox.asked.wait, 10)

    assert 0 == await callback_inbox.refresh()
    assert callback_inbox.may_hold("order-1")
    inbox.write.set()
    await put
    assert callback_inbox.may_hold("order-1")
    assert 1 == await callback_inbox.refresh()
    engine.dispose()


async def test_learns_what_others_put_there(engine: Engine) -> None:
    """A look also finds what another process has put there, and shows it in the metrics."""
    metrics = Metrics()
    callback_inbox = _callback_inbox(engine, metrics)
    received_at = datetime.now(UTC) - timedelta(minutes=10)
    Inbox(engine).put([("order-1", DELIVERED.model_copy(update={"received_at": received_at}))])

    await callback_inbox.refresh()

    assert callback_inbox.may_hold("order-1")
    shown = dict(
        line.rsplit(" ", 1)
        for line in generate_latest(metrics.registry).decode().splitlines()
        if line.startswith("signedfor_webhook_inbox_")
    )
    assert 1 == float(shown["signedfor_webhook_inbox_receipts"])
    assert 600 <= float(shown["signedfor_webhook_inbox_oldest_seconds"]) < 660


async def test_with_too_many_to_remember_everything_waits(sqlite_engine: Engine) -> None:
    """Of an inbox larger than what is remembered every message may have something there."""
    callback_inbox = _callback_inbox(sqlite_engine)
    Inbox(sqlite_engine).put([(f"order-{n}", DELIVERED) for n in range(MAX_MESSAGE_IDS + 1)])

    await callback_inbox.refresh()

    assert callback_inbox.may_hold("another")


async def test_says_when_nothing_is_safe(sqlite_url: str) -> None:
    """While the database is locked nobody is told that a receipt is safe; later it can be."""
    engine = open_engine(sqlite_url, lock_wait_seconds=0.1)
    callback_inbox = _callback_inbox(engine)
    holder = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")

    failed = await asyncio.gather(
        *(callback_inbox.put(f"order-{n}", DELIVERED) for n in range(50)), return_exceptions=True
    )
    holder.execute("ROLLBACK")
    holder.close()
    await callback_inbox.put("order-1", DELIVERED)

    assert [DatabaseUnavailable] * 50 == [type(each) for each in failed]
    assert 1 == Inbox(engine).backlog().count
    engine.dispose()


async def test_a_caller_that_goes_away_takes_nobody_along(engine: Engine) -> None:
    """If the callback whose turn it is to write is given up, the others are still kept."""
    callback_inbox = _callback_inbox(engine)
    first, *others = (
        asyncio.create_task(callback_inbox.put(f"order-{n}", DELIVERED)) for n in range(5)
    )
    await asyncio.sleep(0)
    first.cancel()

    with pytest.raises(asyncio.CancelledError):
        await first
    await asyncio.gather(*others)

    assert 5 == Inbox(engine).backlog().count
