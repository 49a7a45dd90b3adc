"""The last check's decision about a message that exceeds its sender's rate."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from activities.send import TwilioSends
from signedfor.contract import Day, Priority, SendWindow
from signedfor.message_activities import Deferred
from signedfor.store.rate_limiter import RateLimiter
from tests.activities.fake_twilio import SENDER
from tests.activities.sending import attempt, message, send_request

_BACKLOG = timedelta(days=2)


@pytest.fixture(autouse=True)
def long_backlog(sqlite_engine: Engine) -> None:
    """The sender has just used up its rate, and has a backlog of two days."""
    limiter = RateLimiter(sqlite_engine)
    limiter.set_rate(SENDER, 1)
    limiter.reserve(SENDER, int(_BACKLOG.total_seconds()), is_urgent=False)
    limiter.acquire(SENDER, 2)


def _deferred_by(sends: TwilioSends, *, number: int = 1, **fields: Any) -> timedelta:
    decision = attempt(sends, send_request(**fields), number=number).decision
    assert isinstance(decision, Deferred)
    return decision.reserved_at - datetime.now(UTC)


def test_a_message_that_can_wait_is_requeued_at_the_end(sends: TwilioSends) -> None:
    """Its earlier reservation goes to another message."""
    assert _deferred_by(sends) > _BACKLOG - timedelta(minutes=1)


@pytest.mark.parametrize("number", [1, 2])
def test_a_retry_is_not_requeued_at_the_end(sends: TwilioSends, number: int) -> None:
    """It does not matter whether the workflow or the retry policy retries it."""
    assert _deferred_by(sends, number=number, is_retry=number == 1) < timedelta(seconds=3)


def test_an_urgent_message_is_not_requeued_at_the_end(sends: TwilioSends) -> None:
    """It is deferred only until the rate allows another message."""
    urgent = message(priority=Priority.URGENT)

    assert _deferred_by(sends, message=urgent) < timedelta(seconds=2)


def test_a_message_that_would_expire_in_the_queue_is_sent_soon(sends: TwilioSends) -> None:
    """The end of the queue is after its `expires_at`."""
    expiring = message(expires_at=datetime.now(UTC) + timedelta(hours=1))

    assert _deferred_by(sends, message=expiring) < timedelta(seconds=3)


def test_a_message_whose_window_would_close_is_sent_soon(sends: TwilioSends) -> None:
    """It is not deferred to another day's window."""
    today = Day(f"{datetime.now(UTC):%a}".lower())
    window = SendWindow(opens="00:00", closes="24:00", days=(today,), time_zone="UTC")

    assert _deferred_by(sends, message=message(send_window=window)) < timedelta(seconds=3)
