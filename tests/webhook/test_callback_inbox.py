"""The callback inbox in one webhook process."""

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


async def test_concurrent_receipts_share_transactions(engine: Engine) -> None:
    """A thousand receipts at once are stored in a few transactions."""
    callback_inbox = _callback_inbox(engine)
    commits: list[object] = []
    event.listen(engine, "commit", commits.append)

    await asyncio.gather(*(callback_inbox.put(f"order-{n}", DELIVERED) for n in range(1000)))

    assert 1000 == Inbox(engine).backlog().count
    assert 5 > len(commits)


async def test_a_stored_receipt_is_remembered_until_it_is_delivered(engine: Engine) -> None:
    """Its message counts as waiting from before the write until a refresh finds no receipt."""
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
    (receipt,) = inbox.lease(limit=1, duration=timedelta(seconds=30))
    inbox.settle(delivered=[receipt.id])
    assert 0 == await callback_inbox.refresh()
    assert not callback_inbox.may_hold("order-1")


class _SlowToRead(Inbox):
    """Returns the backlog it has read only when `proceed` is set."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.was_read, self.proceed = threading.Event(), threading.Event()

    def backlog(self) -> Backlog:
        backlog = super().backlog()
        self.was_read.set()
        assert self.proceed.wait(10)
        return backlog


async def test_a_refresh_keeps_receipts_that_are_stored_meanwhile(engine: Engine) -> None:
    """A receipt that is stored after the refresh has read an empty inbox still counts."""
    inbox = _SlowToRead(engine)
    callback_inbox = CallbackInbox(inbox, threads=DatabaseThreads(engine), metrics=Metrics())
    refresh = asyncio.create_task(callback_inbox.refresh())
    assert await asyncio.to_thread(inbox.was_read.wait, 10)
    put = asyncio.create_task(callback_inbox.put("order-1", DELIVERED))
    await asyncio.sleep(0)
    inbox.proceed.set()

    assert 0 == await refresh
    assert callback_inbox.may_hold("order-1")
    await put
    assert callback_inbox.may_hold("order-1")


class _SlowToWrite(Inbox):
    """Writes only when `proceed` is set."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.was_called, self.proceed = threading.Event(), threading.Event()

    def put(self, receipts: Sequence[tuple[str, DeliveryStatus]]) -> None:
        self.was_called.set()
        assert self.proceed.wait(10)
        super().put(receipts)


async def test_a_refresh_keeps_receipts_that_are_being_written(postgres_url: str) -> None:
    """A receipt whose write starts before the refresh and ends after it still counts."""
    engine = open_engine(postgres_url)
    inbox = _SlowToWrite(engine)
    callback_inbox = CallbackInbox(inbox, threads=DatabaseThreads(engine), metrics=Metrics())
    put = asyncio.create_task(callback_inbox.put("order-1", DELIVERED))
    assert await asyncio.to_thread(inbox.was_called.wait, 10)

    assert 0 == await callback_inbox.refresh()
    assert callback_inbox.may_hold("order-1")
    inbox.proceed.set()
    await put
    assert callback_inbox.may_hold("order-1")
    assert 1 == await callback_inbox.refresh()
    engine.dispose()


async def test_a_refresh_finds_receipts_of_other_processes(engine: Engine) -> None:
    """They are counted in the metrics too."""
    metrics = Metrics()
    callback_inbox = _callback_inbox(engine, metrics)
    received_at = datetime.now(UTC) - timedelta(minutes=10)
    Inbox(engine).put([("order-1", DELIVERED.model_copy(update={"received_at": received_at}))])

    await callback_inbox.refresh()

    assert callback_inbox.may_hold("order-1")
    values = dict(
        line.rsplit(" ", 1)
        for line in generate_latest(metrics.registry).decode().splitlines()
        if line.startswith("signedfor_webhook_inbox_")
    )
    assert 1 == float(values["signedfor_webhook_inbox_receipts"])
    assert 600 <= float(values["signedfor_webhook_inbox_oldest_seconds"]) < 660


async def test_with_too_many_receipts_every_message_may_have_one(sqlite_engine: Engine) -> None:
    """Only a limited number of message ids is stored."""
    callback_inbox = _callback_inbox(sqlite_engine)
    Inbox(sqlite_engine).put([(f"order-{n}", DELIVERED) for n in range(MAX_MESSAGE_IDS + 1)])

    await callback_inbox.refresh()

    assert callback_inbox.may_hold("another")


async def test_storing_fails_while_the_database_is_locked(sqlite_url: str) -> None:
    """All callers get an error, so that Twilio retries; afterwards storing works again."""
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


async def test_a_canceled_caller_does_not_affect_others(engine: Engine) -> None:
    """If the callback that writes the batch is canceled, the others are still stored."""
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
