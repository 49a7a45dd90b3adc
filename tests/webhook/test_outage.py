"""Outages of Temporal and the database during callbacks: nothing is lost, and order is kept."""

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
from tests.webhook.support import SETTINGS, Twilio
from tests.webhook.workflows import Handle, new_message_id, open_message, received
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
    start = time.monotonic()
    async with asyncio.timeout(WITHIN_SECONDS):
        while await asyncio.to_thread(lambda: inbox.backlog().count):  # noqa: ASYNC110 - a database
            await asyncio.sleep(0.1)
    return time.monotonic() - start


async def _timed(calls: list[tuple[Twilio, str, str, str]]) -> tuple[list[int], list[float]]:
    """Post callbacks concurrently; return their HTTP statuses and durations."""
    statuses: list[int] = []
    seconds: list[float] = []
    limit = asyncio.Semaphore(50)

    async def post(twilio: Twilio, message_id: str, sid: str, status: str) -> None:
        async with limit:
            start = time.monotonic()
            response: httpx.Response = await twilio.status(message_id, status, MessageSid=sid)
            seconds.append(time.monotonic() - start)
            statuses.append(response.status_code)

    await asyncio.gather(*(post(*call) for call in calls))
    return statuses, seconds


@pytest.mark.timeout(240)
async def test_a_thousand_callbacks_while_temporal_is_down(
    stopped_server: TemporalServer, engine: Engine
) -> None:
    """All get a quick 204; once Temporal is back, all are delivered within a minute, in order."""
    await asyncio.to_thread(stopped_server.start)
    client = await Client.connect(stopped_server.address, data_converter=data_converter)
    count = 1000 // len(STEPS)
    messages = await _messages(client, count)
    inbox = Inbox(engine)
    # Long enough to tell waiting for Temporal from a busy machine.
    signal_timeout = timedelta(seconds=5)
    app = create_app(EVERY_STATUS, client=client, engine=engine, signal_timeout=signal_timeout)
    async with _running(app) as twilio:
        stopped_server.kill()
        statuses, seconds = [], []
        for step in STEPS:
            some_statuses, some_seconds = await _timed(
                [(twilio, each, _sid(n), step) for n, each in enumerate(messages)]
            )
            statuses += some_statuses
            seconds += some_seconds
        stored = inbox.backlog().count
        await asyncio.to_thread(stopped_server.start)
        drained_after = await _seconds_until_empty(inbox)
        histories = [
            [each.message_status for each in await received(client, handle)]
            for handle in messages.values()
        ]

    assert ([204] * 5 * count, 5 * count) == (statuses, stored)
    # Only callbacks that were in progress when Temporal was killed may have waited for it.
    assert sorted(seconds)[-51] < signal_timeout.total_seconds()
    assert [STEPS] * count == histories
    assert drained_after < WITHIN_SECONDS


@pytest.mark.timeout(240)
async def test_concurrent_copies_of_callbacks_in_an_outage(
    stopped_server: TemporalServer, engine: Engine
) -> None:
    """All ten copies of a callback get a 204, and the message receives it once."""
    await asyncio.to_thread(stopped_server.start)
    client = await Client.connect(stopped_server.address, data_converter=data_converter)
    messages = await _messages(client, 25)
    inbox = Inbox(engine)
    # As if two processes shared one address.
    apps = [create_app(SETTINGS, client=client, engine=engine) for _ in range(2)]
    async with _running(apps[0]) as first, _running(apps[1]) as second:
        stopped_server.kill()
        responses, _ = await _timed(
            [
                (twilio, message_id, _sid(n), "delivered")
                for n, message_id in enumerate(messages)
                for twilio in (first, second) * 5
            ]
        )
        stored = inbox.backlog().count
        await asyncio.to_thread(stopped_server.start)
        await _seconds_until_empty(inbox)
        counts = [len(await received(client, handle)) for handle in messages.values()]

    assert [204] * 250 == responses
    assert 25 == stored
    assert [1] * 25 == counts


@pytest.mark.timeout(240)
async def test_callbacks_are_answered_while_temporal_hangs(
    stopped_server: TemporalServer, sqlite_engine: Engine
) -> None:
    """Only the first callbacks wait, for about a second."""
    await asyncio.to_thread(stopped_server.start)
    client = await Client.connect(stopped_server.address, data_converter=data_converter)
    messages = await _messages(client, 100)
    app = create_app(SETTINGS, client=client, engine=sqlite_engine)
    async with _running(app) as twilio:
        os.kill(stopped_server.pid, signal.SIGSTOP)
        try:
            responses, seconds = await _timed(
                [(twilio, each, _sid(n), "delivered") for n, each in enumerate(messages)]
            )
        finally:
            os.kill(stopped_server.pid, signal.SIGCONT)
        await _seconds_until_empty(Inbox(sqlite_engine))
        histories = [await received(client, handle) for handle in messages.values()]

    assert [204] * 100 == responses
    assert max(seconds) < 3
    # Some signals may have arrived although Temporal did not respond.
    assert [{"delivered"}] * 100 == [{each.message_status for each in one} for one in histories]


@pytest.mark.timeout(240)
async def test_callbacks_survive_lost_database_connections(
    stopped_server: TemporalServer, postgres_url: str
) -> None:
    """A callback whose connection is cut while it is stored is either stored or refused.

    Callbacks are sent until at least one was refused.
    """
    engine = open_engine(postgres_url)
    client = await Client.connect(stopped_server.address, data_converter=data_converter, lazy=True)
    enough = asyncio.Event()

    async def cut_connections() -> None:
        other = open_engine(postgres_url)
        while not enough.is_set():
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
        task = asyncio.create_task(cut_connections())
        statuses: dict[str, int] = {}
        async with asyncio.timeout(WITHIN_SECONDS):
            while len(statuses) < 100 or {*statuses.values()} != {204, 503}:
                message_id = new_message_id()
                statuses[message_id] = (await twilio.status(message_id, "delivered")).status_code
        enough.set()
        await task
        refused = [each for each, status in statuses.items() if status == 503]
        retries = [await twilio.status(each, "delivered") for each in refused]
    stored = Inbox(engine).message_ids(limit=len(statuses))
    engine.dispose()

    assert {204} == {response.status_code for response in retries}
    assert frozenset(statuses) == stored
