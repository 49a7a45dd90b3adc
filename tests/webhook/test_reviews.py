"""The gauges of pending reviews."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text
from temporalio.client import Client

from signedfor.contract import InboundKind
from signedfor.inbound import InboundRecord
from signedfor.store.database import transaction
from signedfor.store.inbound import InboundMessages
from tests.webhook.support import PERSON, SENDER, SETTINGS, Twilio, metric
from webhook.app import create_app

PENDING = "signedfor_webhook_reviews_pending"
OLDEST = "signedfor_webhook_reviews_oldest_seconds"


@pytest.fixture(autouse=True)
def short_poll_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count more often than every 15 seconds."""
    monkeypatch.setattr("webhook.reviews.POLL_SECONDS", 0.05)


@pytest.fixture
async def running(client_without_server: Client, sqlite_engine: Engine) -> AsyncIterator[Twilio]:
    """A webhook that runs, with a database."""
    app = create_app(SETTINGS, client=client_without_server, engine=sqlite_engine)
    twilio = Twilio.calling(app)
    async with app.router.lifespan_context(app), twilio.http:
        yield twilio


async def _shows(twilio: Twilio, count: int) -> None:
    async with asyncio.timeout(30):
        while count != await metric(twilio.http, PENDING):  # noqa: ASYNC110 - it asks the webhook
            await asyncio.sleep(0.05)


def _receive(engine: Engine, sid: str, *, hours: int) -> None:
    InboundMessages(engine).receive(
        InboundRecord(
            message_sid=sid,
            from_=PERSON,
            to=SENDER,
            kind=InboundKind.REVIEW,
            received_at=datetime.now(UTC) - timedelta(hours=hours),
        )
    )


async def test_pending_reviews_have_a_count_and_an_age(
    running: Twilio, sqlite_engine: Engine
) -> None:
    """The age is that of the oldest; without any it is 0."""
    assert 0 == await metric(running.http, OLDEST)
    for hours in (1, 3):
        _receive(sqlite_engine, f"SM{hours}", hours=hours)

    await _shows(running, 2)
    assert 3 * 3600 <= await metric(running.http, OLDEST) < 3 * 3600 + 60
    inbound = InboundMessages(sqlite_engine)
    inbound.decide("SM3", is_opt_out=False, by="ops")
    await _shows(running, 1)
    assert 3600 <= await metric(running.http, OLDEST) < 3600 + 60
    inbound.decide("SM1", is_opt_out=False, by="ops")
    await _shows(running, 0)
    assert 0 == await metric(running.http, OLDEST)


async def test_they_are_counted_again_after_an_outage(
    running: Twilio, sqlite_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """What was counted last stays; the log says why."""
    _receive(sqlite_engine, "SM1", hours=1)
    await _shows(running, 1)

    with transaction(sqlite_engine) as connection:
        connection.execute(text("ALTER TABLE inbound_messages RENAME TO away"))
    async with asyncio.timeout(30):
        while "The pending reviews cannot be counted" not in caplog.text:  # noqa: ASYNC110 - the log
            await asyncio.sleep(0.05)
    assert 1 == await metric(running.http, PENDING)
    with transaction(sqlite_engine) as connection:
        connection.execute(text("ALTER TABLE away RENAME TO inbound_messages"))
    _receive(sqlite_engine, "SM2", hours=2)

    await _shows(running, 2)
