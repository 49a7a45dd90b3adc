"""What a worker deletes regularly."""

import asyncio
import io
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, Table, func, select

from signedfor.contract import InboundKind, MessageRequest
from signedfor.inbound import InboundRecord
from signedfor.inbound_texts import TextPolicy
from signedfor.store.campaign_uploads import LIFETIME, CampaignUploads
from signedfor.store.database import transaction
from signedfor.store.inbound import InboundMessages
from signedfor.store.message_index import MessageIndex
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.send_attempts import Claimed, SendAttempts
from signedfor.store.tables import campaign_uploads, send_attempts
from signedfor.twilio.rates import SenderKind
from tests.signedfor.campaigns.support import message
from tests.signedfor.store.indexed_messages import ended, running
from tests.webhook.support import PERSON, SENDER, SETTINGS
from worker import MAX_TIME_OPEN, purging

TWO_DAYS = timedelta(days=2)


def _texts(engine: Engine) -> list[str]:
    return [each.message_sid for each in InboundMessages(engine).list_() if each.text is not None]


def _count(engine: Engine, table: Table) -> int:
    with transaction(engine, read_only=True) as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def _claim(engine: Engine, message_id: str, *, at: datetime) -> None:
    rates = dict.fromkeys(SenderKind, 100_000.0)
    attempts = SendAttempts(engine, RateLimiter(engine, rates=rates), now=lambda: at)
    claimed = attempts.claim(message_id, MessageRequest(to=PERSON, body="x"), sender=SENDER)
    assert isinstance(claimed, Claimed)


@pytest.mark.parametrize(("days", "left"), [(1, ["new"]), (3, ["new", "old"]), (0, [])])
async def test_old_texts_and_attempt_records_are_deleted(
    engine: Engine, days: int, left: list[str]
) -> None:
    """Each by its own setting, and at once when the worker starts."""
    inbound = InboundMessages(engine, texts=TextPolicy(keeps=True))
    now = datetime.now(UTC)
    for sid, at in (
        ("new", now - timedelta(minutes=1)),
        ("old", now - TWO_DAYS),
        ("oldest", now - 2 * TWO_DAYS),
    ):
        inbound.receive(
            InboundRecord(
                message_sid=sid,
                from_=PERSON,
                to=SENDER,
                kind=InboundKind.OTHER,
                body="hello",
                received_at=at,
            )
        )
    _claim(engine, "m1", at=now - TWO_DAYS - MAX_TIME_OPEN)
    _claim(engine, "m2", at=now)
    MessageIndex(engine).put(
        [ended(1, closed_at=now - TWO_DAYS - MAX_TIME_OPEN), ended(2, closed_at=now), running(3)]
    )
    uploads = CampaignUploads(engine, now=lambda: now - 2 * LIFETIME)
    uploads.add(io.BytesIO(b"to\n"), message(), to_column="to", campaign_id=None, by="ann")
    settings = SETTINGS.model_copy(update={"inbound_text_days": days, "attempt_record_days": 2})

    async with purging(engine, settings), asyncio.timeout(30):
        while (  # noqa: ASYNC110 - a database
            _count(engine, send_attempts) > 1
            or "oldest" in _texts(engine)
            or "m1" in MessageIndex(engine).all_ids()
        ):
            await asyncio.sleep(0.05)

    assert {"m2", "m3"} == set(MessageIndex(engine).all_ids())
    assert 0 == _count(engine, campaign_uploads)
    assert left == _texts(engine)
    assert ["new", "old", "oldest"] == [each.message_sid for each in inbound.list_()]
