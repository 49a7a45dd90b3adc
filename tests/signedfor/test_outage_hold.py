"""After a database outage sends wait for what Temporal holds; with a real Temporal server."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
import sqlalchemy
from sqlalchemy import Engine
from temporalio.client import Client, WorkflowHandle

from signedfor import outage_hold
from signedfor.contract import MESSAGES_QUEUE
from signedfor.inbound import RECORD_INBOUND_WORKFLOW
from signedfor.outage_hold import SETTLING_TIME, InboundBacklog, OutageHold
from signedfor.store.database import DatabaseUnavailable, open_engine, transaction
from tests.integration.support import until, until_true

_OFTEN = timedelta(seconds=0.05)
_NEVER = timedelta(days=1)


@asynccontextmanager
async def _watching(
    client: Client, engine: Engine, hold: OutageHold, probe_interval: timedelta = _NEVER
) -> AsyncIterator[None]:
    backlog = InboundBacklog(client, engine, hold)
    watching = asyncio.create_task(backlog.watch(probe_interval=probe_interval))
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.wait([watching])


async def _deferred(client: Client, number: int = 1) -> WorkflowHandle[object, object]:
    """A workflow for an inbound message that nobody records, once Temporal lists it."""
    handle: WorkflowHandle[object, object] = await client.start_workflow(
        RECORD_INBOUND_WORKFLOW, id=f"inbound-{number}", task_queue=MESSAGES_QUEUE
    )

    async def is_listed() -> bool:
        return (await client.count_workflows("ExecutionStatus = 'Running'")).count >= number

    await until(is_listed, "Temporal to list it")
    return handle


def _fail(engine: Engine) -> None:
    """Have a transaction find the database unavailable."""
    with pytest.raises(DatabaseUnavailable), transaction(engine, read_only=True) as connection:
        connection.execute(sqlalchemy.text("SELECT 1 FROM missing_table"))


async def test_a_worker_begins_without_waiting_if_temporal_holds_nothing(
    temporal: Client, sqlite_engine: Engine
) -> None:
    """It need not wait for an outage to settle that it knows nothing of."""
    hold = OutageHold(sqlite_engine)
    assert not hold.is_over

    began = time.monotonic()
    async with _watching(temporal, sqlite_engine, hold):
        await until_true(lambda: hold.is_over, "the end of the hold")

    assert hold.wait_until_over()
    assert time.monotonic() - began < SETTLING_TIME.total_seconds()


async def test_a_worker_begins_with_what_temporal_holds(
    temporal: Client, sqlite_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """The outage may have been before its start; the log says when it holds, and when no more."""
    deferred = await _deferred(temporal)
    hold = OutageHold(sqlite_engine)

    async with _watching(temporal, sqlite_engine, hold):
        await until_true(lambda: bool(caplog.records), "the hold to be logged")
        assert not hold.is_over
        await deferred.terminate()
        await until_true(lambda: hold.is_over, "the end of the hold")

    begun, ended = [each.getMessage() for each in caplog.records]
    assert "are recorded (1 now)" in begun
    assert "messages are sent again" in ended


async def test_a_transaction_that_fails_begins_a_hold(
    temporal: Client, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """It ends once the outage has settled and Temporal holds nothing any more."""
    hold = OutageHold(engine)
    hold.end(outages=0)

    async with _watching(temporal, engine, hold):
        deferred = await _deferred(temporal)
        failed_at = time.monotonic()
        await asyncio.to_thread(_fail, engine)
        assert not hold.is_over
        await until_true(lambda: bool(caplog.records), "the hold to be logged")
        await deferred.terminate()
        await until_true(lambda: hold.is_over, "the end of the hold")

    assert time.monotonic() - failed_at >= SETTLING_TIME.total_seconds()
    assert [logging.WARNING] * 2 == [each.levelno for each in caplog.records]


async def test_an_outage_settles_first(temporal: Client, sqlite_engine: Engine) -> None:
    """The webhook may hand messages to Temporal a moment after the database is back."""
    hold = OutageHold(sqlite_engine)
    hold.end(outages=0)

    async with _watching(temporal, sqlite_engine, hold):
        failed_at = time.monotonic()
        await asyncio.to_thread(_fail, sqlite_engine)
        await until_true(lambda: hold.is_over, "the end of the hold")

    assert time.monotonic() - failed_at >= SETTLING_TIME.total_seconds()


async def test_an_idle_worker_notices_an_outage(temporal: Client, sqlite_url: str) -> None:
    """Its probes find that the database cannot be written to."""
    engine = open_engine(sqlite_url, lock_wait_seconds=0.1)
    other = open_engine(sqlite_url)
    hold = OutageHold(engine)

    async with _watching(temporal, engine, hold, probe_interval=_OFTEN):
        await until_true(lambda: hold.is_over, "the first hold to end")
        with transaction(other):
            await until_true(lambda: not hold.is_over, "the outage to be noticed")
        await until_true(lambda: hold.is_over, "the end of the hold")

    engine.dispose()
    other.dispose()


async def test_a_broken_connection_is_an_outage(temporal: Client, postgres_url: str) -> None:
    """The transaction that finds it succeeds on a new connection: the database was restarted."""
    engine = open_engine(postgres_url)
    hold = OutageHold(engine)
    end_connections = sqlalchemy.text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    other = open_engine(postgres_url)

    def use(by: Engine, statement: sqlalchemy.TextClause) -> None:
        with transaction(by) as connection:
            connection.execute(statement)

    async with _watching(temporal, engine, hold):
        await until_true(lambda: hold.is_over, "the first hold to end")
        await asyncio.to_thread(use, other, end_connections)
        assert hold.is_over
        await asyncio.to_thread(use, engine, sqlalchemy.text("SELECT 1"))
        assert not hold.is_over
        await until_true(lambda: hold.is_over, "the end of the hold")

    engine.dispose()
    other.dispose()


def test_an_outage_during_the_check_keeps_the_hold(sqlite_engine: Engine) -> None:
    """What was counted before it says nothing of what came since."""
    hold = OutageHold(sqlite_engine)
    outages = hold.outages
    _fail(sqlite_engine)

    assert not hold.end(outages=outages)
    assert not hold.is_over


async def test_a_message_that_cannot_be_recorded_holds_for_a_time_only(
    temporal: Client,
    sqlite_engine: Engine,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise one that no worker can record would stop everything for ever."""
    monkeypatch.setattr(outage_hold, "MAX_HOLD", timedelta(seconds=1))
    await _deferred(temporal)
    hold = OutageHold(sqlite_engine)

    async with _watching(temporal, sqlite_engine, hold):
        await until_true(lambda: hold.is_over, "the end of the hold")

    assert [logging.WARNING, logging.ERROR] == [each.levelno for each in caplog.records]


async def test_a_defect_does_not_end_the_watch(
    temporal: Client, sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise this worker would send nothing after the next outage."""
    counts: Iterator[Exception | int] = iter([RuntimeError("a defect"), 0])

    async def count(_: InboundBacklog) -> int:
        found = next(counts)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(InboundBacklog, "_count", count)
    hold = OutageHold(sqlite_engine)

    async with _watching(temporal, sqlite_engine, hold):
        await until_true(lambda: hold.is_over, "the end of the hold")
