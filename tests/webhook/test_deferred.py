"""Inbound messages while the database is unavailable: Temporal stores them until it is back."""

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
from signedfor.contract import MESSAGES_QUEUE, SEND_MESSAGE, InboundKind, message_workflow_id
from signedfor.inbound import InboundRecord, record_inbound_workflow_id
from signedfor.store.database import open_engine
from signedfor.store.inbound import InboundMessages, Watermarks
from signedfor.store.inbox import Inbox
from signedfor.store.suppressions import Suppressions
from signedfor.twilio.client import TwilioClient
from tests.webhook.support import ACCOUNT, PERSON, SENDER, SETTINGS, Twilio, metric
from tests.webhook.workflows import new_message_id, open_message, received
from webhook.app import create_app
from webhook.temporal import InboundRecorder as TemporalRecorder
from webhook.temporal import Unavailable
from workflows.inbound import RecordInbound

pytestmark = pytest.mark.integration

_LOCKED_SECONDS = 30
"""Much longer than the five seconds for which webhook and worker wait for a lock."""
UNREACHABLE = "postgresql://user@127.0.0.1:1/name"


@pytest.fixture
def unreachable() -> Iterator[Engine]:
    """An unreachable database."""
    engine = open_engine(UNREACHABLE)
    yield engine
    engine.dispose()


def _sid(number: int) -> str:
    return f"SM{time.monotonic_ns():016x}{number:016x}"


@asynccontextmanager
async def _worker(
    client: Client, engine: Engine, *others: type, max_concurrent_workflow_tasks: int | None = None
) -> AsyncIterator[None]:
    """A worker that records deferred inbound messages, and runs the workflows `others` too."""
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
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - it asks a database
            await asyncio.sleep(0.1)


async def test_a_stop_is_deferred_to_temporal(
    client: Client, unreachable: Engine, sqlite_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """With the database down the response is 200; a worker with a database records the STOP."""
    twilio = Twilio.calling(create_app(SETTINGS, client=client, engine=unreachable))
    sid = _sid(1)

    responses = [await twilio.inbound("STOP", MessageSid=sid) for _ in range(3)]

    assert [200] * 3 == [response.status_code for response in responses]
    assert "text/xml" == responses[0].headers["content-type"].partition(";")[0]
    assert 3 == await metric(
        twilio.http, "signedfor_webhook_inbound_messages_total", kind="stop", result="deferred"
    )
    assert [] == Suppressions(sqlite_engine).list_()
    async with _worker(client, sqlite_engine):
        assert await client.get_workflow_handle(record_inbound_workflow_id(sid)).result()
    (suppression,) = Suppressions(sqlite_engine).list_()
    assert (PERSON, sid) == (suppression.recipient, suppression.evidence)
    assert PERSON not in caplog.text


async def test_a_deferred_stop_is_recorded_before_waiting_messages_are_sent(
    client: Client, unreachable: Engine, sqlite_engine: Engine
) -> None:
    """Messages that were started before the STOP run after it, except for the first few."""
    twilio = Twilio.calling(create_app(SETTINGS, client=client, engine=unreachable))
    waiting = [await _waiting(client) for _ in range(200)]
    assert 200 == (await twilio.inbound("STOP", MessageSid=_sid(1))).status_code

    async with _worker(client, sqlite_engine, Passes, max_concurrent_workflow_tasks=2):
        async with asyncio.timeout(60):
            await asyncio.gather(*(handle.result() for handle in waiting))

    (suppression,) = Suppressions(sqlite_engine).list_()
    closed = [(await handle.describe()).close_time for handle in waiting]
    # Some are dispatched to the worker before it polls for the STOP, and some run concurrently.
    recorded_at = suppression.created_at
    assert recorded_at is not None
    assert sum(1 for at in closed if at is not None and at < recorded_at) < 50


@workflow.defn(name=SEND_MESSAGE, sandboxed=False)
class Passes:
    """A message that completes in its first workflow task."""

    @workflow.run
    async def run(self) -> None:
        """Do nothing."""


async def _waiting(client: Client) -> WorkflowHandle[Any, None]:
    return await client.start_workflow(
        SEND_MESSAGE, id=message_workflow_id(new_message_id()), task_queue=MESSAGES_QUEUE
    )


@pytest.mark.parametrize(
    ("changes", "stored"),
    [
        ({"inbound_text_days": 0}, False),
        ({"inbound_text_days": 1}, True),
        ({"inbound_text_days": 0, "inbound_workflow": "W", "inbound_task_queue": "q"}, True),
    ],
)
async def test_temporal_has_the_texts_that_the_database_would_have(
    client: Client, unreachable: Engine, changes: dict[str, Any], *, stored: bool
) -> None:
    """That of a message for review always, because a person has to read it."""
    settings = SETTINGS.model_copy(update=changes)
    twilio = Twilio.calling(create_app(settings, client=client, engine=unreachable))
    media = {"NumMedia": "1", "MediaUrl0": "https://api.example/ME1"}
    sids = [_sid(n) for n in range(2)]
    await twilio.inbound("please stop texting me", MessageSid=sids[0])
    await twilio.inbound("see you then", MessageSid=sids[1], **media)

    review, other = [await _deferred(client, sid) for sid in sids]

    assert (InboundKind.REVIEW, "please stop texting me") == (review.kind, review.body)
    assert InboundKind.OTHER == other.kind
    assert ("see you then" if stored else "") == other.body
    assert ([media["MediaUrl0"]] if stored else []) == [each.url for each in other.media]


async def _deferred(client: Client, sid: str) -> InboundRecord:
    handle = client.get_workflow_handle(record_inbound_workflow_id(sid))
    first = await anext(handle.fetch_history_events())
    started = first.workflow_execution_started_event_attributes
    (record,) = await client.data_converter.decode(started.input.payloads, [InboundRecord])
    assert isinstance(record, InboundRecord)
    return record


async def test_a_deferred_stop_does_not_undo_a_later_start(
    client: Client, unreachable: Engine, sqlite_engine: Engine
) -> None:
    """The START was recorded in the database while the STOP was still in Temporal."""
    without = Twilio.calling(create_app(SETTINGS, client=client, engine=unreachable))
    stop = _sid(1)
    start = InboundRecord(
        message_sid=_sid(2),
        from_=PERSON,
        to=SENDER,
        kind=InboundKind.START,
        received_at=datetime.now(UTC) + timedelta(minutes=1),
    )

    await without.inbound("STOP", MessageSid=stop)
    InboundMessages(sqlite_engine).receive(start)
    async with _worker(client, sqlite_engine):
        await client.get_workflow_handle(record_inbound_workflow_id(stop)).result()

    assert [] == Suppressions(sqlite_engine).list_()


async def test_without_database_and_temporal_the_response_is_503(
    client_without_server: Client, unreachable: Engine
) -> None:
    """The message is not safe anywhere, so Twilio must retry."""
    twilio = Twilio.calling(create_app(SETTINGS, client=client_without_server, engine=unreachable))

    responses = [await twilio.inbound("STOP") for _ in range(3)]

    assert [503] * 3 == [response.status_code for response in responses]


async def test_deferring_without_temporal_raises_an_error(client_without_server: Client) -> None:
    """The error contains no personal data."""
    recorder = TemporalRecorder(client_without_server, timeout=timedelta(seconds=1))

    result = await recorder.start(
        InboundRecord(
            message_sid=_sid(1),
            from_=PERSON,
            to=SENDER,
            kind=InboundKind.STOP,
            received_at=datetime(2026, 11, 21, 20, 0, tzinfo=UTC),
        )
    )

    assert Unavailable("Temporal cannot be reached") == result


@pytest.fixture
def read_only(database_url: str) -> Iterator[Engine]:
    """The database through connections that cannot write."""
    if database_url.startswith("sqlite"):
        engine = open_engine(database_url)
        event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA query_only=ON"))
    else:
        engine = open_engine(f"{database_url}?options=-c%20default_transaction_read_only%3Don")
    yield engine
    engine.dispose()


async def test_a_stop_is_deferred_while_the_database_is_read_only(
    client: Client, read_only: Engine, engine: Engine
) -> None:
    """Temporal stores it, as if the database were unreachable."""
    twilio = Twilio.calling(create_app(SETTINGS, client=client, engine=read_only))
    sid = _sid(1)

    response = await twilio.inbound("STOP", MessageSid=sid)

    assert 200 == response.status_code
    assert [] == Suppressions(engine).list_()
    async with _worker(client, engine):
        await client.get_workflow_handle(record_inbound_workflow_id(sid)).result()
    assert 1 == len(Suppressions(engine).list_())


async def test_a_receipt_needs_temporal_while_the_database_is_read_only(
    client: Client, client_without_server: Client, read_only: Engine, engine: Engine
) -> None:
    """With Temporal it is signaled; without Temporal the response is 503."""
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
    """Lock the database, as a broken backup or migration might."""
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
async def test_stops_are_deferred_while_the_database_is_locked(
    client: Client, database_url: str, engine: Engine
) -> None:
    """The responses come within Twilio's timeout, and all STOPs are recorded afterwards."""
    twilio = Twilio.calling(create_app(SETTINGS, client=client, engine=engine))
    statuses: list[int] = []
    seconds: list[float] = []

    async def stop(number: int) -> None:
        start = time.monotonic()
        response = await twilio.inbound(
            "STOP", MessageSid=_sid(number), From=f"+1555867{number:04d}"
        )
        seconds.append(time.monotonic() - start)
        statuses.append(response.status_code)

    async with _worker(client, engine):
        with _locked(database_url):
            locked_at = time.monotonic()
            while time.monotonic() < locked_at + _LOCKED_SECONDS:
                async with asyncio.TaskGroup() as group:
                    for number in range(5):
                        group.create_task(stop(len(statuses) + number))
                await asyncio.sleep(0.5)
            deferred = await metric(
                twilio.http,
                "signedfor_webhook_inbound_messages_total",
                kind="stop",
                result="deferred",
            )
        await _until(lambda: len(Suppressions(engine).list_()) == len(statuses))

    assert [200] * len(statuses) == statuses
    assert deferred == len(statuses)
    assert max(seconds) < 15
