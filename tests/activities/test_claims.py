"""A submission is claimed before its POST, so that Twilio gets it at most once."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from activities.admission import Admission
from activities.send import TwilioSends
from signedfor.consent import Reason, Source, Suppression
from signedfor.contract import Priority
from signedfor.contract.failures import FailureClass
from signedfor.message_activities import AdmissionRequest, AlreadyClaimed, PolicySnapshot, Sent
from signedfor.store.campaigns import Campaigns
from signedfor.store.database import DatabaseUnavailable
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.send_attempts import SendAttempts
from signedfor.store.suppressions import Suppressions
from tests.activities.conftest import MakeSends, unlimited_rates
from tests.activities.fake_twilio import (
    RECIPIENT,
    SENDER,
    ConnectionFault,
    FakeTwilio,
    created,
    refused,
)
from tests.activities.sending import attempt, failed_attempt, message, send_request, sent

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

    failed_attempt(sends, age=skew)

    records = SendAttempts(sqlite_engine, unlimited_rates(sqlite_engine))
    assert records.claimed_at("parcel-7", 1) is None
    assert [] == RateLimiter(sqlite_engine).states()


@pytest.mark.parametrize("expires_in", [timedelta(hours=-1), None])
def test_admission_knows_a_claimed_submission(
    sends: TwilioSends, sqlite_engine: Engine, expires_in: timedelta | None
) -> None:
    """A message that was reset is not reported as expired or suppressed: Twilio may have it."""
    sent(sends)
    suppressions = Suppressions(sqlite_engine)
    suppressions.record(
        Suppression(recipient=RECIPIENT, reason=Reason.OPTED_OUT, source=Source.INBOUND),
        by="test",
    )
    limiter = RateLimiter(sqlite_engine)
    admission = Admission(
        suppressions,
        limiter,
        Campaigns(sqlite_engine),
        SendAttempts(sqlite_engine, limiter),
        default_sender=None,
        policy=PolicySnapshot(
            receipt_checks=(),
            retry_budget=timedelta(hours=1),
            unknown_wait=timedelta(seconds=3),
            dead_letter_hold=timedelta(days=2),
        ),
    )

    decision = admission.admit(
        AdmissionRequest(
            message_id="parcel-7",
            submission=1,
            requested_at=datetime.now(UTC),
            to=message().to,
            sender=SENDER,
            category=None,
            priority=Priority.NORMAL,
            segments=1,
            expires_at=None if expires_in is None else datetime.now(UTC) + expires_in,
        )
    ).decision

    assert isinstance(decision, AlreadyClaimed)
