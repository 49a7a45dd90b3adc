"""The send activity's decision about a message that exceeds its sender's rate, or the account's."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from activities.send import TwilioSends
from signedfor.contract import Day, Priority, SendWindow
from signedfor.message_activities import Deferred, Expired, Sent, WindowClosed
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.rate_limiter_statements import URGENT_BURST_TOLERANCE
from signedfor.twilio.rates import SenderKind
from tests.activities.conftest import MakeSends
from tests.activities.fake_twilio import SENDER, FakeTwilio
from tests.activities.sending import attempt, message, send_request, sent, unsent

_BACKLOG = timedelta(days=2)


@pytest.fixture
def limiter(sqlite_engine: Engine) -> RateLimiter:
    """Rate limiters of one segment per second."""
    return RateLimiter(sqlite_engine, rates=dict.fromkeys(SenderKind, 1.0))


@pytest.fixture
def sends(make_sends: MakeSends, fake_twilio: FakeTwilio, limiter: RateLimiter) -> TwilioSends:
    """The send activity with these limits."""
    return make_sends(fake_twilio.url, limiter=limiter)


@pytest.fixture
def busy(sends: TwilioSends, limiter: RateLimiter) -> TwilioSends:
    """The sender has just used up its rate, and has a backlog of two days."""
    limiter.reserve(SENDER, int(_BACKLOG.total_seconds()), is_urgent=False)
    limiter.acquire(SENDER, 2)
    return sends


def _deferred_to(sends: TwilioSends, *, number: int = 1, **fields: Any) -> datetime:
    decision = attempt(sends, send_request(**fields), number=number).decision
    assert isinstance(decision, Deferred)
    assert not decision.by_account
    return decision.reserved_at


def _deferred_by(sends: TwilioSends, *, number: int = 1, **fields: Any) -> timedelta:
    return _deferred_to(sends, number=number, **fields) - datetime.now(UTC)


def _today() -> SendWindow:
    today = Day(f"{datetime.now(UTC):%a}".lower())
    return SendWindow(opens="00:00", closes="24:00", days=(today,), time_zone="UTC")


# A message without a reservation.


def test_messages_are_sent_at_the_senders_rate(sends: TwilioSends, fake_twilio: FakeTwilio) -> None:
    """The first goes at once, the others one after another; an urgent one does not queue."""
    before = datetime.now(UTC)
    sent(sends, send_request(message_id="first", segments=3))
    after = datetime.now(UTC)

    urgent = message(priority=Priority.URGENT)
    others: list[dict[str, Any]] = [{}, {"segments": 2}, {}, {"message": urgent}]
    times = [
        _deferred_to(sends, message_id=str(number), **fields)
        for number, fields in enumerate(others)
    ]

    assert before <= times[0] - timedelta(seconds=3) <= after
    after_first = [(each - times[0]).total_seconds() for each in times]
    assert pytest.approx([0, 1, 3, -URGENT_BURST_TOLERANCE]) == after_first
    assert 1 == len(fake_twilio.requests)


def test_a_message_that_would_expire_before_its_time(
    sends: TwilioSends, limiter: RateLimiter
) -> None:
    """It expires at once and reserves nothing."""
    sent(sends, send_request(message_id="first", segments=10))
    soon = message(expires_at=datetime.now(UTC) + timedelta(seconds=5))

    results = [attempt(sends, send_request(message=soon)) for _ in range(2)]

    assert [unsent(Expired())] * 2 == results
    assert limiter.backlog(SENDER) <= timedelta(seconds=10)


def test_a_message_whose_window_closes_before_its_time(
    sends: TwilioSends, limiter: RateLimiter
) -> None:
    """It waits for the next window and leaves the time to other messages."""
    sent(sends, send_request(message_id="first", segments=2 * 86_400))

    decision = attempt(sends, send_request(message=message(send_window=_today()))).decision

    assert isinstance(decision, WindowClosed)
    assert decision.opens_at > datetime.now(UTC) + timedelta(days=5)
    assert limiter.backlog(SENDER) <= timedelta(days=2)


def test_a_retry_without_a_reservation_does_not_queue(busy: TwilioSends) -> None:
    """The sender was paused after an earlier attempt, for instance."""
    assert _deferred_by(busy, is_retry=True) < timedelta(seconds=3)


# A message whose reserved time has come.


def test_a_message_that_can_wait_is_requeued_at_the_end(busy: TwilioSends) -> None:
    """Its earlier reservation goes to another message."""
    assert _deferred_by(busy, is_reserved=True) > _BACKLOG - timedelta(minutes=1)


@pytest.mark.parametrize("number", [1, 2])
def test_a_retry_is_not_requeued_at_the_end(busy: TwilioSends, number: int) -> None:
    """It does not matter whether the workflow or the retry policy retries it."""
    waited = _deferred_by(busy, number=number, is_reserved=True, is_retry=number == 1)

    assert waited < timedelta(seconds=3)


def test_an_urgent_message_is_not_requeued_at_the_end(busy: TwilioSends) -> None:
    """It is deferred only until the rate allows another message."""
    urgent = message(priority=Priority.URGENT)

    assert _deferred_by(busy, message=urgent, is_reserved=True) < timedelta(seconds=2)


def test_a_message_that_would_expire_in_the_queue_is_sent_soon(busy: TwilioSends) -> None:
    """The end of the queue is after its `expires_at`."""
    expiring = message(expires_at=datetime.now(UTC) + timedelta(hours=1))

    assert _deferred_by(busy, message=expiring, is_reserved=True) < timedelta(seconds=3)


def test_a_message_whose_window_would_close_is_sent_soon(busy: TwilioSends) -> None:
    """It is not deferred to another day's window."""
    today = message(send_window=_today())

    assert _deferred_by(busy, message=today, is_reserved=True) < timedelta(seconds=3)


# The account's limit.


def test_a_message_that_exceeds_the_accounts_rate(
    make_sends: MakeSends, fake_twilio: FakeTwilio, sqlite_engine: Engine
) -> None:
    """It is deferred by the account, whatever its sender; reserved, it is sent."""
    sends = make_sends(
        fake_twilio.url,
        limiter=RateLimiter(
            sqlite_engine, rates=dict.fromkeys(SenderKind, 100_000.0), account_rate=2
        ),
    )
    sent(sends, send_request(message_id="first", sender="12345"))

    deferred = attempt(sends).decision

    assert isinstance(deferred, Deferred)
    assert deferred.by_account
    assert timedelta(0) < deferred.reserved_at - datetime.now(UTC) < timedelta(seconds=0.6)
    reserved = send_request(is_reserved_by_account=True)
    assert isinstance(attempt(sends, reserved).decision, Sent)
    assert 2 == len(fake_twilio.requests)
