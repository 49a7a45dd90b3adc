"""Inbound messages while the database is away: Temporal has them until it is back."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, event
from temporalio.client import Client
from temporalio.worker import Worker

from activities.inbound import Inbound
from activities.twilio_client import TwilioClient
from messaging.contract import MESSAGES_QUEUE
from messaging.inbound import InboundRecord, inbound_workflow_id
from messaging.keywords import InboundKind
from store.database import open_engine
from store.inbound import InboundMessages
from store.suppressions import Suppressions
from store.watermarks import Watermarks
from tests.webhook.support import ACCOUNT, CONFIG, PERSON, SENDER, Twilio, metric
from webhook.app import create_app
from webhook.records import InboundRecords, RecordNotTaken
from workflows.record_inbound import RecordInbound

pytestmark = pytest.mark.integration

_LONG = 12
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
async def _worker(client: Client, engine: Engine) -> AsyncIterator[None]:
    """A worker that records what the webhook could not."""
    inbound = Inbound(
        InboundMessages(engine),
        watermarks=Watermarks(engine),
        twilio=TwilioClient(account_sid=ACCOUNT, username="x", password="x", connections=1),
    )

    with ThreadPoolExecutor(4) as threads:
        async with Worker(
            client,
            task_queue=MESSAGES_QUEUE,
            workflows=[RecordInbound],
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
    twilio = Twilio.calling(create_app(CONFIG, client=client, engine=away))
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


async def test_the_text_goes_along_only_for_review(client: Client, away: Engine) -> None:
    """Temporal gets a text only where somebody must read it."""
    twilio = Twilio.calling(create_app(CONFIG, client=client, engine=away))
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
    without = Twilio.calling(create_app(CONFIG, client=client, engine=away))
    with_database = Twilio.calling(create_app(CONFIG, client=client, engine=sqlite_engine))
    stop, start = _sid(1), _sid(2)

    await without.inbound("STOP", MessageSid=stop)
    await with_database.inbound("START", MessageSid=start)
    async with _worker(client, sqlite_engine):
        await client.get_workflow_handle(inbound_workflow_id(stop)).result()

    assert [] == Suppressions(sqlite_engine).list_()


async def test_both_away(client_without_server: Client, away: Engine) -> None:
    """With the database and Temporal down nothing is safe: 503."""
    twilio = Twilio.calling(create_app(CONFIG, client=client_without_server, engine=away))

    answers = [await twilio.inbound("STOP") for _ in range(3)]

    assert [503] * 3 == [answer.status_code for answer in answers]


async def test_the_database_is_tried_though_it_failed(
    client_without_server: Client, sqlite_url: str
) -> None:
    """With Temporal down, a database that has just failed is tried again at once."""
    engine = open_engine(sqlite_url, lock_wait_seconds=0.1)
    twilio = Twilio.calling(create_app(CONFIG, client=client_without_server, engine=engine))
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
    records = InboundRecords(client_without_server, timeout=timedelta(seconds=1))

    with pytest.raises(RecordNotTaken, match=r"^Temporal cannot be reached$"):
        await records.start(
            InboundRecord(
                message_sid=_sid(1),
                from_=PERSON,
                to=SENDER,
                kind=InboundKind.STOP,
                received_at=datetime(2026, 11, 21, 20, 0, tzinfo=UTC),
            )
        )


async def test_a_database_that_is_read_only(
    client: Client, sqlite_url: str, sqlite_engine: Engine
) -> None:
    """A database that takes no writes is as good as none: Temporal has the STOP."""
    read_only = open_engine(sqlite_url)
    event.listen(read_only, "connect", lambda raw, _: raw.execute("PRAGMA query_only=ON"))
    twilio = Twilio.calling(create_app(CONFIG, client=client, engine=read_only))
    sid = _sid(1)

    answer = await twilio.inbound("STOP", MessageSid=sid)
    read_only.dispose()

    assert 200 == answer.status_code
    async with _worker(client, sqlite_engine):
        await client.get_workflow_handle(inbound_workflow_id(sid)).result()
    assert 1 == len(Suppressions(sqlite_engine).list_())


@pytest.mark.timeout(180)
async def test_a_database_locked_for_long(
    client: Client, sqlite_url: str, sqlite_engine: Engine
) -> None:
    """STOPs that come meanwhile are all answered in Twilio's time, and recorded afterwards."""
    people = [f"+1555867{n:04d}" for n in range(30)]
    engine = open_engine(sqlite_url)
    twilio = Twilio.calling(create_app(CONFIG, client=client, engine=engine))
    holder = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    locked_at = time.monotonic()
    seconds: list[float] = []

    async def stop(number: int, person: str) -> int:
        begun = time.monotonic()
        answer = await twilio.inbound("STOP", MessageSid=_sid(number), From=person)
        seconds.append(time.monotonic() - begun)
        return answer.status_code

    async with _worker(client, sqlite_engine):
        answers = []
        for begin in range(0, 30, 10):
            burst = enumerate(people[begin : begin + 10], begin)
            answers += await asyncio.gather(*(stop(*each) for each in burst))
        await asyncio.sleep(max(0.0, _LONG - (time.monotonic() - locked_at)))
        assert [] == Suppressions(sqlite_engine).list_()
        holder.execute("ROLLBACK")
        holder.close()
        await _until(lambda: len(Suppressions(sqlite_engine).list_()) == len(people))
    engine.dispose()

    assert [200] * 30 == answers
    assert max(seconds) < 15
