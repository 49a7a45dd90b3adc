"""What the last check decides about a message that comes too early for its sender's rate."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from activities.send import TwilioSends
from signedfor.contract import Day, Priority, SendWindow
from signedfor.message_activities import Deferred
from signedfor.store.rate_limiter import RateLimiter
from tests.activities.edge import SENDER
from tests.activities.sending import attempt, message, send_request

_BACKLOG = timedelta(days=2)


@pytest.fixture(autouse=True)
def long_backlog(sqlite_engine: Engine) -> None:
    """A second's worth has just been sent, and two days' worth waits."""
    limiter = RateLimiter(sqlite_engine)
    limiter.set_rate(SENDER, 1)
    limiter.reserve(SENDER, int(_BACKLOG.total_seconds()), is_urgent=False)
    limiter.acquire(SENDER, 2)


def _again_in(sends: TwilioSends, *, number: int = 1, **fields: Any) -> timedelta:
    decision = attempt(sends, send_request(**fields), number=number).decision
    assert isinstance(decision, Deferred)
    return decision.reserved_at - datetime.now(UTC)


def test_a_message_that_can_wait(sends: TwilioSends) -> None:
    """It is requeued at the end, and another message has its time."""
    assert _again_in(sends) > _BACKLOG - timedelta(minutes=1)


@pytest.mark.parametrize("number", [1, 2])
def test_a_retry(sends: TwilioSends, number: int) -> None:
    """Retried by the workflow or by the retry policy, it is not requeued at the end."""
    assert _again_in(sends, number=number, is_retry=number == 1) < timedelta(seconds=3)


def test_an_urgent_message(sends: TwilioSends) -> None:
    """It comes again as soon as it can."""
    urgent = message(priority=Priority.URGENT)

    assert _again_in(sends, message=urgent) < timedelta(seconds=2)


def test_a_message_that_expires_before_the_end(sends: TwilioSends) -> None:
    """It is served soon."""
    expiring = message(expires_at=datetime.now(UTC) + timedelta(hours=1))

    assert _again_in(sends, message=expiring) < timedelta(seconds=3)


def test_a_message_whose_window_closes_before_the_end(sends: TwilioSends) -> None:
    """It is not moved to another day's window."""
    today = Day(f"{datetime.now(UTC):%a}".lower())
    window = SendWindow(opens="00:00", closes="24:00", days=(today,), time_zone="UTC")

    assert _again_in(sends, message=message(send_window=window)) < timedelta(seconds=3)
