"""What the last check says of a message that came to its sender's gate too early."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from activities.send import TwilioSends
from signedfor.contract import Day, Priority, SendWindow
from signedfor.steps import Decision
from signedfor.store.rate_limiter import RateLimiter
from tests.activities.edge import SENDER
from tests.activities.sending import attempt, message, send_request

_BACKLOG = timedelta(days=2)


@pytest.fixture(autouse=True)
def long_line(sqlite_engine: Engine) -> None:
    """A second's worth has just been sent, and two days' worth waits."""
    pacing = RateLimiter(sqlite_engine)
    pacing.set_rate(SENDER, 1)
    pacing.reserve(SENDER, int(_BACKLOG.total_seconds()), is_urgent=False)
    pacing.acquire(SENDER, 2)


def _again_in(sends: TwilioSends, *, number: int = 1, **fields: Any) -> timedelta:
    submission = attempt(sends, send_request(**fields), number=number)
    assert Decision.NOT_YET is submission.decision
    assert submission.not_before is not None
    return submission.not_before - datetime.now(UTC)


def test_one_that_can_wait(sends: TwilioSends) -> None:
    """It goes to the end, and what it has lost is another's."""
    assert _again_in(sends) > _BACKLOG - timedelta(minutes=1)


@pytest.mark.parametrize("number", [1, 2])
def test_one_that_had_its_turn(sends: TwilioSends, number: int) -> None:
    """Tried again, by the workflow or by the retry policy, it does not go to the end."""
    assert _again_in(sends, number=number, is_retry=number == 1) < timedelta(seconds=3)


def test_an_urgent_one(sends: TwilioSends) -> None:
    """It comes again as soon as it can."""
    urgent = message(priority=Priority.URGENT)

    assert _again_in(sends, message=urgent) < timedelta(seconds=2)


def test_one_that_expires_before_the_end(sends: TwilioSends) -> None:
    """It stays near the gate."""
    expiring = message(expires_at=datetime.now(UTC) + timedelta(hours=1))

    assert _again_in(sends, message=expiring) < timedelta(seconds=3)


def test_one_whose_window_closes_before_the_end(sends: TwilioSends) -> None:
    """It is not moved to another day's window."""
    today = Day(f"{datetime.now(UTC):%a}".lower())
    window = SendWindow(opens="00:00", closes="24:00", days=(today,), time_zone="UTC")

    assert _again_in(sends, message=message(send_window=window)) < timedelta(seconds=3)
