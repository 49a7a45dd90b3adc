"""Temporal killed and started again while Twilio calls: nothing is lost, and order is kept."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, text
from temporalio.client import Client

from devtools.stack.temporal_server import TemporalServer
from signedfor.payloads import data_converter
from signedfor.store.database import open_engine, transaction
from signedfor.store.inbox import Inbox
from tests.webhook.recorded import Handle, new_message_id, open_message, received
from tests.webhook.support import SETTINGS, Twilio
from webhook.app import create_app

pytestmark = pytest.mark.integration

EVERY_STATUS = SETTINGS.model_copy(update={"forward_all_statuses": True})
STEPS = ["queued", "sending", "sent", "delivered", "read"]
WITHIN_SECONDS = 60


def _sid(number: int) -> str:
    return f"SM{number:032x}"


@asynccontextmanager
async def _running(app: FastAPI) -> AsyncIterator[Twilio]:
    twilio = Twilio.calling(app)
    async with app.router.lifespan_context(app), twilio.http:
        yield twilio


async def _messages(client: Client, count: int) -> dict[str, Handle]:
    ids = [new_message_id() for _ in range(count)]
    return dict(
        zip(ids, await asyncio.gather(*(open_message(client, each) for each in ids)), strict=True)
    )


async def _seconds_until_empty(inbox: Inbox) -> float:
    begun = time.monotonic()
    async with asyncio.timeout(WITHIN_SECONDS):
        while await asyncio.to_thread(lambda: inbox.backlog().count):  # noqa: ASYNC110 - a database
            await asyncio.sleep(0.1)
    return time.monotonic() - begun


async def _timed(calls: list[tuple[Twilio, str, str, str]]) -> tuple[list[int], list[float]]:
    """Post callbacks one after the other for each message, many messages at a time."""
    answers: list[int] = []
    seconds: list[float] = []
    turns = asyncio.Semaphore(50)

    async def post(twilio: Twilio, message_id: str, sid: str, status: str) -> None:
        async with turns:
            begun = time.monotonic()
            answer: httpx.Response = await twilio.status(message_id, status, MessageSid=sid)
            seconds.append(time.monotonic() - begun)
            answers.append(answer.status_code)

    await asyncio.gather(*(post(*call) for call in calls))
    return answers, seconds


@pytest.mark.timeout(240)
async def test_a_thousand_callbacks_while_temporal_is_down(
    stopped_server: TemporalServer, engine: Engine
) -> None:
    """All are answered 204, none slowly; back up, all are applied within a minute, in order."""
    await asyncio.to_thread(stopped_server.start)
    client = await Client.connect(stopped_server.address, data_converter=data_converter)
    count = 1000 // len(STEPS)
    messages = await _messages(client, count)
    inbox = Inbox(engine)
    # So patient that who waited for Temporal can be told from who was slow on a busy machine.
    signal_timeout = timedelta(seconds=5)
    app = create_app(EVERY_STATUS, client=client, engine=engine, signal_timeout=signal_timeout)
    async with _running(app) as twilio:
        stopped_server.kill()
        answers, seconds = [], []
        for step in STEPS:
            some_answers, some_seconds = await _timed(
                [(twilio, each, _sid(n), step) for n, each in enumerate(messages)]
            )
            answers += some_answers
            seconds += some_seconds
        kept = inbox.backlog().count
        await asyncio.to_thread(stopped_server.start)
        drained_after = await _seconds_until_empty(inbox)
        histories = [
            [each.message_status for each in await received(client, handle)]
            for handle in messages.values()
        ]

    assert ([204] * 5 * count, 5 * count) == (answers, kept)
    # Only those on their way at the moment of the kill may have waited for Temporal.
    assert sorted(seconds)[-51] < signal_timeout.total_seconds()
    assert [STEPS] * count == histories
    assert drained_after < WITHIN_SECONDS


@pytest.mark.timeout(240)
async def test_each_callback_ten_times_at_once(
    stopped_server: TemporalServer, engine: Engine
) -> None:
    """Copies that come together in an outage are all answered, and reach the message once."""
    await asyncio.to_thread(stopped_server.start)
    client = await Client.connect(stopped_server.address, data_converter=data_converter)
    messages = await _messages(client, 25)
    inbox = Inbox(engine)
    # Two processes behind one address.
    apps = [create_app(SETTINGS, client=client, engine=engine) for _ in range(2)]
    async with _running(apps[0]) as first, _running(apps[1]) as second:
        stopped_server.kill()
        answers, _ = await _timed(
            [
                (twilio, message_id, _sid(n), "delivered")
                for n, message_id in enumerate(messages)
                for twilio in (first, second) * 5
            ]
        )
        kept = inbox.backlog().count
        await asyncio.to_thread(stopped_server.start)
        await _seconds_until_empty(inbox)
        counts = [len(await received(client, handle)) for handle in messages.values()]

    assert [204] * 250 == answers
    assert 25 == kept
    assert [1] * 25 == counts


@pytest.mark.timeout(240)
async def test_temporal_hangs(stopped_server: TemporalServer, sqlite_engine: Engine) -> None:
    """A Temporal that takes connections and answers nothing costs the first callbacks a second."""
    await asyncio.to_thread(stopped_server.start)
    client = await Client.connect(stopped_server.address, data_converter=data_converter)
    messages = await _messages(client, 100)
    app = create_app(SETTINGS, client=client, engine=sqlite_engine)
    async with _running(app) as twilio:
        os.kill(stopped_server.pid, signal.SIGSTOP)
        try:
            answers, seconds = await _timed(
                [(twilio, each, _sid(n), "delivered") for n, each in enumerate(messages)]
            )
        finally:
            os.kill(stopped_server.pid, signal.SIGCONT)
        await _seconds_until_empty(Inbox(sqlite_engine))
        histories = [await received(client, handle) for handle in messages.values()]

    assert [204] * 100 == answers
    assert max(seconds) < 3
    # Some may have got through although nobody was told so.
    assert [{"delivered"}] * 100 == [{each.message_status for each in one} for one in histories]


@pytest.mark.timeout(240)
async def test_connections_to_postgresql_are_cut(
    stopped_server: TemporalServer, postgres_url: str
) -> None:
    """Callbacks whose connection is cut in the middle are kept or refused, never lost.

    They come until at least one was refused: its connection was cut while it was being kept.
    """
    engine = open_engine(postgres_url)
    client = await Client.connect(stopped_server.address, data_converter=data_converter, lazy=True)
    cut = asyncio.Event()

    async def cutting() -> None:
        other = open_engine(postgres_url)
        while not cut.is_set():
            with transaction(other) as connection:
                connection.execute(
                    text(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    )
                )
            await asyncio.sleep(0.02)
        other.dispose()

    async with _running(create_app(SETTINGS, client=client, engine=engine)) as twilio:
        task = asyncio.create_task(cutting())
        answers: dict[str, int] = {}
        async with asyncio.timeout(WITHIN_SECONDS):
            while len(answers) < 100 or {*answers.values()} != {204, 503}:
                message_id = new_message_id()
                answers[message_id] = (await twilio.status(message_id, "delivered")).status_code
        cut.set()
        await task
        refused = [each for each, answer in answers.items() if answer == 503]
        again = [await twilio.status(each, "delivered") for each in refused]
    kept = Inbox(engine).message_ids(limit=len(answers))
    engine.dispose()

    assert {204} == {answer.status_code for answer in again}
    assert frozenset(answers) == kept
