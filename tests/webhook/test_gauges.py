"""The gauges of the whole system: backlogs, holds, workers and waiting tasks."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Engine, text
from temporalio.client import Client

from signedfor.contract import MESSAGES_QUEUE, SEND_MESSAGE
from signedfor.store.account_hold import AccountHold
from signedfor.store.database import transaction
from signedfor.store.rate_limiter import RateLimiter
from tests.signedfor.store.open_breaker import open_breaker
from tests.webhook.support import SETTINGS, Twilio, metric
from webhook.app import create_app

_LONG_CODES = ("+15558670001", "+15558670002")
_SHORT_CODE = "12345"
BACKLOG = "signedfor_sender_backlog_seconds"


@pytest.fixture(autouse=True)
def short_poll_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read more often than every 15 seconds."""
    monkeypatch.setattr("webhook.gauges.POLL_SECONDS", 0.05)


async def _running(client: Client, engine: Engine) -> AsyncIterator[Twilio]:
    app = create_app(SETTINGS, client=client, engine=engine)
    twilio = Twilio.calling(app)
    async with app.router.lifespan_context(app), twilio.http:
        yield twilio


@pytest.fixture
async def without_temporal(
    client_without_server: Client, sqlite_engine: Engine
) -> AsyncIterator[Twilio]:
    """A webhook that runs, with a database."""
    async for each in _running(client_without_server, sqlite_engine):
        yield each


async def _shows(twilio: Twilio, value: float, name: str, **labels: str) -> None:
    async with asyncio.timeout(30):
        while value != await metric(twilio.http, name, **labels):  # noqa: ASYNC110 - it asks
            await asyncio.sleep(0.05)


async def test_backlogs_are_shown_by_kind_of_sender(
    without_temporal: Twilio, sqlite_engine: Engine
) -> None:
    """The longest wait and all segments; no sender is named."""
    limiter = RateLimiter(sqlite_engine)
    for sender, segments in zip(_LONG_CODES, (100, 300), strict=True):
        limiter.reserve(sender, segments, is_urgent=False)
    limiter.reserve(_LONG_CODES[0], 50, is_urgent=True)
    limiter.pause(_SHORT_CODE)

    await _shows(without_temporal, 1, "signedfor_senders_paused", sender_kind="short_code")

    wait = await metric(without_temporal.http, BACKLOG, sender_kind="long_code")
    waiting = await metric(
        without_temporal.http, "signedfor_sender_backlog_segments", sender_kind="long_code"
    )
    borrowed = await metric(
        without_temporal.http, "signedfor_sender_borrowed_segments", sender_kind="long_code"
    )
    assert 290 < wait <= 300
    assert 390 < waiting <= 400
    assert 40 < borrowed <= 50
    assert 0 == await metric(without_temporal.http, BACKLOG, sender_kind="short_code")
    shown = (await without_temporal.http.get("/metrics")).text
    assert [] == [each for each in (*_LONG_CODES, _SHORT_CODE) if each in shown]


async def test_a_held_account_is_shown(without_temporal: Twilio, sqlite_engine: Engine) -> None:
    """While Twilio refuses its requests."""
    hold = AccountHold(sqlite_engine)
    await _shows(without_temporal, 0, "signedfor_account_held")

    hold.begin(20003)
    await _shows(without_temporal, 1, "signedfor_account_held")
    hold.end()
    await _shows(without_temporal, 0, "signedfor_account_held")


async def test_old_gauges_show_their_age(
    without_temporal: Twilio, sqlite_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the database, or without Temporal, what was read last stays, with its time."""
    polled = "signedfor_gauges_polled_timestamp_seconds"
    async with asyncio.timeout(30):
        while not await metric(without_temporal.http, polled, source="database"):  # noqa: ASYNC110 - it asks
            await asyncio.sleep(0.05)
    with transaction(sqlite_engine) as connection:
        connection.execute(text("ALTER TABLE senders RENAME TO away"))
    errors = "signedfor_database_errors_total"
    async with asyncio.timeout(30):
        while await metric(without_temporal.http, errors, result="unavailable") < 2:  # noqa: ASYNC110 - it asks
            await asyncio.sleep(0.05)
    before = await metric(without_temporal.http, polled, source="database")
    assert "are old" in caplog.text

    assert 0 == await metric(without_temporal.http, polled, source="temporal")
    with transaction(sqlite_engine) as connection:
        connection.execute(text("ALTER TABLE away RENAME TO senders"))
    async with asyncio.timeout(30):
        while await metric(without_temporal.http, polled, source="database") <= before:  # noqa: ASYNC110 - it asks
            await asyncio.sleep(0.05)


@pytest.mark.integration
async def test_tasks_without_a_worker_are_shown(client: Client, sqlite_engine: Engine) -> None:
    """The number of workers is 0, and the message's first task waits."""
    await client.start_workflow(SEND_MESSAGE, {}, id="message:gauges", task_queue=MESSAGES_QUEUE)
    async for twilio in _running(client, sqlite_engine):
        labels = {"task_queue": MESSAGES_QUEUE, "task_type": "workflow"}
        await _shows(twilio, 1, "signedfor_task_queue_tasks", **labels)

        assert 0 == await metric(twilio.http, "signedfor_workers", **labels)
        assert "signedfor_workers{" in (await twilio.http.get("/metrics")).text
        assert 0 == await metric(twilio.http, "signedfor_dead_letters_open")


async def test_open_breakers_are_counted_by_reason_and_kind(
    without_temporal: Twilio, sqlite_engine: Engine
) -> None:
    """No sender is named; a resume closes them."""
    name = "signedfor_breaker_open"
    await _shows(without_temporal, 0, name, reason="failed", sender_kind="long_code")
    for sender in (*_LONG_CODES, _SHORT_CODE):
        open_breaker(sqlite_engine, sender)

    await _shows(without_temporal, 2, name, reason="failed", sender_kind="long_code")
    assert 1 == await metric(without_temporal.http, name, reason="failed", sender_kind="short_code")
    assert 0 == await metric(without_temporal.http, name, reason="spend", sender_kind="long_code")

    RateLimiter(sqlite_engine).resume(_LONG_CODES[0])
    await _shows(without_temporal, 1, name, reason="failed", sender_kind="long_code")
    RateLimiter(sqlite_engine).resume(_SHORT_CODE)
    await _shows(without_temporal, 0, name, reason="failed", sender_kind="short_code")
