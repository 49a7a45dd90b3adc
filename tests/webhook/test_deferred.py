"""Inbound messages while the database is away: Temporal has them until it is back."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, event
from temporalio import workflow
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from activities.inbound import InboundRecorder
from signedfor.contract import MESSAGES_QUEUE, SEND_MESSAGE, message_workflow_id
from signedfor.inbound import InboundRecord, inbound_workflow_id
from signedfor.store.database import open_engine
from signedfor.store.inbound import InboundMessages, Watermarks
from signedfor.store.inbox import Inbox
from signedfor.store.suppressions import Suppressions
from signedfor.twilio.client import TwilioClient
from signedfor.twilio.keywords import InboundKind
from tests.webhook.recorded import new_message_id, open_message, received
from tests.webhook.support import ACCOUNT, PERSON, SENDER, SETTINGS, Twilio, metric
from webhook.app import create_app
from webhook.temporal import InboundRecorder as TemporalRecorder
from webhook.temporal import Unavailable
from workflows.inbound import RecordInbound

pytestmark = pytest.mark.integration

_LONG = 30
"""Seconds: a lock is waited for five, by the webhook as by the worker."""
AWAY = "postgresql://somebody@127.0.0.1:1/name"


@pytest.fixture
def away() -> Iterator[Engine]:
    """A database that is not there."""
    engine = open_engine(AWAY)
    yield engine
    engine.dispose()


def _sid(number: int) -> str:
    return f"SM{time.monotonic_ns():016x}{number:016x}"


@asynccontextmanager
async def _worker(
    client: Client, engine: Engine, *others: type, max_concurrent_workflow_tasks: int | None = None
) -> AsyncIterator[None]:
    """A worker that records what the webhook could not, and has `others` as its workflows too."""
    inbound = InboundRecorder(
        InboundMessages(engine),
        watermarks=Watermarks(engine),
        twilio=TwilioClient(account_sid=ACCOUNT, username="x", password="x", connections=1),
    )

    with ThreadPoolExecutor(4) as threads:
        async with Worker(
            client,
            task_queue=MESSAGES_QUEUE,
            workflows=[RecordInbound, *others],
            max_concurrent_workflow_tasks=max_concurrent_workflow_tasks,
            activities=[inbound.record_inbound],
            activity_executor=threads,
            max_concurrent_activities=4,
            graceful_shutdown_timeout=timedelta(seconds=10),
        ):
            yield


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - a database is asked
            await asyncio.sleep(0.1)


async def test_a_stop_waits_in_temporal(
    client: Client, away: Engine, sqlite_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """With the database down a STOP is answered 200, and recorded when a worker has a database."""
    twilio = Twilio.calling(create_app(SETTINGS, client=client, engine=away))
    sid = _sid(1)

    answers = [await twilio.inbound("STOP", MessageSid=sid) for _ in range(3)]

    assert [200] * 3 == [answer.status_code for answer in answers]
    assert "text/xml" == answers[0].headers["content-type"].partition(";")[0]
    assert 3 == await metric(
        twilio.http, "signedfor_webhook_inbound_messages_total", kind="stop", result="deferred"
    )
    assert [] == Suppressions(sqlite_engine).list_()
    async with _worker(client, sqlite_engine):
        assert await client.get_workflow_handle(inbound_workflow_id(sid)).result()
    (suppression,) = Suppressions(sqlite_engine).list_()
    assert (PERSON, sid) == (suppression.recipient, suppression.evidence)
    assert PERSON not in caplog.text


async def test_a_stop_is_recorded_before_the_messages_that_wait_for_a_worker(
    client: Client, away: Engine, sqlite_engine: Engine
) -> None:
    """However many messages were handed in before it, the first ones find the STOP in force."""
    twilio = Twilio.calling(create_app(SETTINGS, client=client, engine=away))
    waiting = [await _waiting(client) for _ in range(200)]
    assert 200 == (await twilio.inbound("STOP", MessageSid=_sid(1))).status_code

    async with _worker(client, sqlite_engine, Passes, max_concurrent_workflow_tasks=2):
        async with asyncio.timeout(60):
            await asyncio.gather(*(handle.result() for handle in waiting))

    (suppression,) = Suppressions(sqlite_engine).list_()
    ended = [(await handle.describe()).close_time for handle in waiting]
    # Some are on their way to the worker before it asks for the STOP, and some run beside it.
    in_force = suppression.created_at
    assert in_force is not None
    assert sum(1 for at in ended if at is not None and at < in_force) < 50


@workflow.defn(name=SEND_MESSAGE, sandboxed=False)
class Passes:
    """A message that ends when a worker takes it up."""

    @workflow.run
    async def run(self) -> None:
        """Nothing more."""


async def _waiting(client: Client) -> WorkflowHandle[Any, None]:
    return await client.start_workflow(
        SEND_MESSAGE, id=message_workflow_id(new_message_id()), task_queue=MESSAGES_QUEUE
    )


async def test_the_text_goes_along_only_for_review(client: Client, away: Engine) -> None:
    """Temporal gets a text only where somebody must read it."""
    twilio = Twilio.calling(create_app(SETTINGS, client=client, engine=away))
    sids = [_sid(n) for n in range(3)]
    bodies = ["STOP", "please stop texting me", "see you then"]
    for sid, body in zip(sids, bodies, strict=True):
        await twilio.inbound(body, MessageSid=sid)

    kept = []
    for sid in sids:
        handle = client.get_workflow_handle(inbound_workflow_id(sid))
        first = await anext(handle.fetch_history_events())
        started = first.workflow_execution_started_event_attributes
        (record,) = await client.data_converter.decode(started.input.payloads, [InboundRecord])
        kept.append((record.kind, record.body))

    assert [
        (InboundKind.STOP, ""),
        (InboundKind.REVIEW, "please stop texting me"),
        (InboundKind.OTHER, ""),
    ] == kept


async def test_a_later_start_is_not_overtaken(
    client: Client, away: Engine, sqlite_engine: Engine
) -> None:
    """A START that found the database up again holds against the STOP that Temporal still has."""
    without = Twilio.calling(create_app(SETTINGS, client=client, engine=away))
    with_database = Twilio.calling(create_app(SETTINGS, client=client, engine=sqlite_engine))
    stop, start = _sid(1), _sid(2)

    await without.inbound("STOP", MessageSid=stop)
    await with_database.inbound("START", MessageSid=start)
    async with _worker(client, sqlite_engine):
        await client.get_workflow_handle(inbound_workflow_id(stop)).result()

    assert [] == Suppressions(sqlite_engine).list_()


async def test_both_away(client_without_server: Client, away: Engine) -> None:
    """With the database and Temporal down nothing is safe: 503."""
    twilio = Twilio.calling(create_app(SETTINGS, client=client_without_server, engine=away))

    answers = [await twilio.inbound("STOP") for _ in range(3)]

    assert [503] * 3 == [answer.status_code for answer in answers]


async def test_the_database_is_tried_though_it_failed(
    client_without_server: Client, sqlite_url: str
) -> None:
    """With Temporal down, a database that has just failed is tried again at once."""
    engine = open_engine(sqlite_url, lock_wait_seconds=0.1)
    twilio = Twilio.calling(create_app(SETTINGS, client=client_without_server, engine=engine))
    holder = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    refused = await twilio.inbound("STOP")
    holder.execute("ROLLBACK")
    holder.close()

    taken = await twilio.inbound("STOP")

    assert [503, 200] == [refused.status_code, taken.status_code]
    engine.dispose()


async def test_a_record_is_not_started_without_temporal(client_without_server: Client) -> None:
    """What Temporal does not have is said, without anything personal."""
    records = TemporalRecorder(client_without_server, timeout=timedelta(seconds=1))

    answer = await records.start(
        InboundRecord(
            message_sid=_sid(1),
            from_=PERSON,
            to=SENDER,
            kind=InboundKind.STOP,
            received_at=datetime(2026, 11, 21, 20, 0, tzinfo=UTC),
        )
    )

    assert Unavailable("Temporal cannot be reached") == answer


@pytest.fixture
def read_only(database_url: str) -> Iterator[Engine]:
    """The database as one to whom it takes no writes sees it."""
    if database_url.startswith("sqlite"):
        engine = open_engine(database_url)
        event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA query_only=ON"))
    else:
        engine = open_engine(f"{database_url}?options=-c%20default_transaction_read_only%3Don")
    yield engine
    engine.dispose()


async def test_a_stop_while_the_database_is_read_only(
    client: Client, read_only: Engine, engine: Engine
) -> None:
    """A database that takes no writes is as good as none: Temporal has the STOP."""
    twilio = Twilio.calling(create_app(SETTINGS, client=client, engine=read_only))
    sid = _sid(1)

    answer = await twilio.inbound("STOP", MessageSid=sid)

    assert 200 == answer.status_code
    assert [] == Suppressions(engine).list_()
    async with _worker(client, engine):
        await client.get_workflow_handle(inbound_workflow_id(sid)).result()
    assert 1 == len(Suppressions(engine).list_())


async def test_a_receipt_while_the_database_is_read_only(
    client: Client, client_without_server: Client, read_only: Engine, engine: Engine
) -> None:
    """It goes to Temporal; with Temporal down nobody is told that it is safe."""
    message_id = new_message_id()
    message = await open_message(client, message_id)

    with_temporal, without = [
        await Twilio.calling(create_app(SETTINGS, client=each, engine=read_only)).status(
            message_id, "delivered"
        )
        for each in (client, client_without_server)
    ]

    assert [204, 503] == [with_temporal.status_code, without.status_code]
    assert ["delivered"] == [each.message_status for each in await received(client, message)]
    assert 0 == Inbox(engine).backlog().count


@contextmanager
def _locked(url: str) -> Iterator[None]:
    """Keep everybody else from writing: what a backup or a migration that goes wrong may do."""
    if url.startswith("sqlite"):
        holder = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        with contextlib.closing(holder):
            holder.execute("BEGIN EXCLUSIVE")
            yield
            holder.execute("ROLLBACK")
    else:
        with psycopg.connect(url) as connection:
            connection.execute("LOCK TABLE inbound_messages, suppressions IN ACCESS EXCLUSIVE MODE")
            yield


@pytest.mark.timeout(180)
async def test_a_database_locked_for_long(
    client: Client, database_url: str, engine: Engine
) -> None:
    """STOPs that come meanwhile are all answered in Twilio's time, and recorded afterwards."""
    twilio = Twilio.calling(create_app(SETTINGS, client=client, engine=engine))
    answers: list[int] = []
    seconds: list[float] = []

    async def stop(number: int) -> None:
        begun = time.monotonic()
        answer = await twilio.inbound("STOP", MessageSid=_sid(number), From=f"+1555867{number:04d}")
        seconds.append(time.monotonic() - begun)
        answers.append(answer.status_code)

    async with _worker(client, engine):
        with _locked(database_url):
            locked_at = time.monotonic()
            while time.monotonic() < locked_at + _LONG:
                async with asyncio.TaskGroup() as at_once:
                    for number in range(5):
                        at_once.create_task(stop(len(answers) + number))
                await asyncio.sleep(0.5)
            deferred = await metric(
                twilio.http,
                "signedfor_webhook_inbound_messages_total",
                kind="stop",
                result="deferred",
            )
        await _until(lambda: len(Suppressions(engine).list_()) == len(answers))

    assert [200] * len(answers) == answers
    assert deferred == len(answers)
    assert max(seconds) < 15
