"""A submission is claimed before its POST, so that Twilio gets it at most once."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from activities.send import TwilioSends
from signedfor.consent import Reason, Source, Suppression
from signedfor.contract import Day, SendWindow
from signedfor.contract.failures import FailureClass
from signedfor.message_activities import AlreadyClaimed, Sent, WrongClock
from signedfor.store.database import DatabaseUnavailable
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.send_attempts import SendAttempts
from signedfor.store.suppressions import Suppressions
from signedfor.twilio.rates import SenderKind
from tests.activities.conftest import MakeSends, unlimited_rates
from tests.activities.fake_twilio import (
    RECIPIENT,
    SENDER,
    ConnectionFault,
    FakeTwilio,
    created,
    refused,
)
from tests.activities.sending import (
    attempt,
    failed_attempt,
    message,
    send_request,
    sent,
    unsent,
)

BUSY = refused(429, 20429)


def test_a_repeated_attempt_makes_no_second_post(
    sends: TwilioSends, fake_twilio: FakeTwilio
) -> None:
    """The activity runs twice because its worker was lost: the second run says who was first."""
    before = datetime.now(UTC)
    sent(sends)

    decision = attempt(sends, number=2).decision

    assert isinstance(decision, AlreadyClaimed)
    assert before <= decision.claimed_at <= datetime.now(UTC)
    assert 1 == len(fake_twilio.requests)


def test_another_submission_of_the_message_is_sent(
    sends: TwilioSends, fake_twilio: FakeTwilio
) -> None:
    """After a temporary delivery failure the message is submitted again, on purpose."""
    sent(sends)
    sent(sends, send_request(submission=2))

    assert 2 == len(fake_twilio.requests)


@pytest.mark.parametrize(
    "answer",
    [BUSY, refused(400, 21408), refused(400, 21610)],
    ids=["busy", "misconfigured", "opted out"],
)
def test_after_a_refusal_the_submission_can_be_sent(
    sends: TwilioSends, fake_twilio: FakeTwilio, answer: bytes
) -> None:
    """Twilio said no, so it does not have the message: the next attempt makes its POST."""
    fake_twilio.responses = [answer, created()]
    failed_attempt(sends)

    assert isinstance(attempt(sends, number=2).decision, Sent)
    assert 2 == len(fake_twilio.requests)


def test_after_a_failed_connection_the_submission_can_be_sent(
    make_sends: MakeSends, sends: TwilioSends, fake_twilio: FakeTwilio
) -> None:
    """Nothing left this machine: the next attempt makes its POST."""
    failed_attempt(make_sends("http://127.0.0.1:9"))

    assert isinstance(attempt(sends, number=2).decision, Sent)
    assert 1 == len(fake_twilio.requests)


@pytest.mark.parametrize("answer", [ConnectionFault.CLOSE, refused(503, 20503)])
def test_after_an_unknown_outcome_the_submission_is_not_sent(
    sends: TwilioSends, fake_twilio: FakeTwilio, answer: bytes | str
) -> None:
    """Twilio may have the message: whatever runs the activity again, no POST is made."""
    fake_twilio.responses = [answer, created()]
    failed_attempt(sends)

    assert isinstance(attempt(sends, number=2).decision, AlreadyClaimed)
    assert 1 == len(fake_twilio.requests)


def test_a_refusal_that_cannot_be_recorded_keeps_the_claim(
    sends: TwilioSends, fake_twilio: FakeTwilio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is away after the POST: the attempt fails as before, and the claim stays."""
    fake_twilio.responses = [BUSY, created()]

    def unavailable(*_: object) -> None:
        raise DatabaseUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(SendAttempts, "refuse", unavailable)
        error, _ = failed_attempt(sends)

    assert FailureClass.TEMPORARILY_UNAVAILABLE == error.type
    assert isinstance(attempt(sends, number=2).decision, AlreadyClaimed)


@pytest.mark.parametrize("skew", [timedelta(hours=1), timedelta(hours=-1)])
def test_a_worker_with_a_wrong_clock_claims_nothing(
    make_sends: MakeSends, fake_twilio: FakeTwilio, sqlite_engine: Engine, skew: timedelta
) -> None:
    """Its sender's rate limiter and the submission stay free for other workers."""
    sends = make_sends(fake_twilio.url)

    assert unsent(WrongClock()) == attempt(sends, age=skew)

    records = SendAttempts(sqlite_engine, unlimited_rates(sqlite_engine))
    assert records.holder("parcel-7", 1) is None
    assert [] == RateLimiter(sqlite_engine).states()


_DAY = timedelta(days=1)


@pytest.mark.parametrize(
    "fields",
    [
        {"expires_at": datetime.now(UTC) - _DAY},
        {"send_window": SendWindow(opens="09:00", closes="10:00", time_zone="Europe/Secret")},
        {
            "send_window": SendWindow(
                opens="00:00",
                closes="24:00",
                days=(Day(f"{datetime.now(UTC) + 3 * _DAY:%a}".lower()),),
                time_zone="UTC",
            )
        },
        {},
    ],
    ids=["expired", "invalid window", "window closed", "opted out"],
)
def test_what_an_earlier_run_has_claimed_is_resolved(
    sends: TwilioSends, fake_twilio: FakeTwilio, sqlite_engine: Engine, fields: dict[str, Any]
) -> None:
    """A message whose workflow was reset is not reported as unsent: Twilio may have it."""
    before = datetime.now(UTC)
    sent(sends)
    Suppressions(sqlite_engine).record(
        Suppression(recipient=RECIPIENT, reason=Reason.OPTED_OUT, source=Source.INBOUND),
        by="test",
    )

    result = attempt(sends, send_request(message=message(**fields)))

    assert isinstance(result.decision, AlreadyClaimed)
    assert before <= result.decision.claimed_at <= datetime.now(UTC)
    assert 1 == result.attempts
    assert 1 == len(fake_twilio.requests)


@pytest.mark.parametrize("expires_in", [timedelta(minutes=1), None])
def test_what_an_earlier_run_has_claimed_does_not_queue(
    make_sends: MakeSends,
    fake_twilio: FakeTwilio,
    sqlite_engine: Engine,
    expires_in: timedelta | None,
) -> None:
    """At a busy sender it is resolved at once, and reserves no time: it might expire meanwhile."""
    limiter = RateLimiter(sqlite_engine, rates=dict.fromkeys(SenderKind, 1.0))
    sends = make_sends(fake_twilio.url, limiter=limiter)
    sent(sends, send_request(segments=3600))
    backlog = limiter.backlog(SENDER)
    expiring = message(expires_at=expires_in and datetime.now(UTC) + expires_in)

    decision = attempt(sends, send_request(message=expiring)).decision

    assert isinstance(decision, AlreadyClaimed)
    assert limiter.backlog(SENDER) <= backlog
    assert 1 == len(fake_twilio.requests)


def test_the_attempts_of_an_earlier_run_count(sends: TwilioSends, fake_twilio: FakeTwilio) -> None:
    """They are in the attempt records, of all submissions of the message."""
    fake_twilio.responses = [BUSY, created()]
    failed_attempt(sends)
    sent(sends, number=2)
    sent(sends, send_request(submission=2, earlier_attempts=2))

    result = attempt(sends, send_request())

    assert isinstance(result.decision, AlreadyClaimed)
    assert 3 == result.attempts
