"""Limits and the duplicate guard in the send activity: nothing is posted beyond them."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine

from signedfor.contract.failures import FailureClass
from signedfor.message_activities import Expired, Sent, WindowClosed
from signedfor.store.rate_limiter import RateLimiter
from signedfor.worker_metrics import WorkerMetrics
from tests.activities.conftest import MakeSends
from tests.activities.fake_twilio import BODY, SENDER, FakeTwilio, created, refused
from tests.activities.sending import attempt, failed_attempt, message, send_request, sent
from tests.signedfor.store.observation import observed

DAY = timedelta(days=1)


def test_a_message_beyond_a_limit_is_not_posted(
    make_sends: MakeSends, fake_twilio: FakeTwilio
) -> None:
    """It waits until there is a place, and the decision names the rule."""
    sends = make_sends(fake_twilio.url, limits="person=1/24h")
    sent(sends)

    result = attempt(sends, send_request(message_id="m2"))

    assert isinstance(result.decision, WindowClosed)
    assert result.decision.limit is not None
    assert "person=1/24h" == result.decision.limit.rule
    assert result.decision.opens_at > datetime.now(UTC) + DAY
    assert 0 == result.attempts
    assert 1 == len(fake_twilio.requests)


def test_a_message_that_twilio_refused_keeps_its_place(
    make_sends: MakeSends, fake_twilio: FakeTwilio
) -> None:
    """Its next attempt is posted, although it is the last message of its window."""
    fake_twilio.responses = [refused(429, 20429), created()]
    sends = make_sends(fake_twilio.url, limits="person=1/24h")
    failed_attempt(sends)

    assert isinstance(attempt(sends, number=2).decision, Sent)


def test_an_expired_message_is_not_said_to_wait(
    make_sends: MakeSends, fake_twilio: FakeTwilio
) -> None:
    """Its time is checked before the limit."""
    sends = make_sends(fake_twilio.url, limits="person=1/24h")
    sent(sends)
    late = message(expires_at=datetime.now(UTC) - timedelta(seconds=1))

    assert isinstance(attempt(sends, send_request(message_id="m2", message=late)).decision, Expired)


def test_a_duplicate_is_not_posted(make_sends: MakeSends, fake_twilio: FakeTwilio) -> None:
    """The failure names the other message, and neither the text nor the recipient."""
    sends = make_sends(fake_twilio.url, duplicate_window=timedelta(minutes=10))
    sent(sends, send_request(message_id="m1"))

    error, detail = failed_attempt(sends, send_request(message_id="m2"))

    assert FailureClass.DUPLICATE == error.type
    assert ("m1", 0, None) == (detail.duplicate_of, detail.attempts, error.next_retry_delay)
    assert "Message m1 with the same content" in error.message
    assert 1 == len(fake_twilio.requests)


def test_both_are_counted_by_metrics(make_sends: MakeSends, fake_twilio: FakeTwilio) -> None:
    """As results of claims."""
    metrics = WorkerMetrics()
    sends = make_sends(
        fake_twilio.url,
        limits="person=2/24h",
        duplicate_window=timedelta(minutes=10),
        metrics=metrics,
    )
    sent(sends, send_request(message_id="m1"))
    failed_attempt(sends, send_request(message_id="m2"))
    for number in (3, 4):
        request = send_request(message_id=f"m{number}", message=message(body=f"{BODY} {number}"))
        attempt(sends, request)

    counted = {
        result: metrics.registry.get_sample_value("signedfor_claims_total", {"result": result})
        for result in ("claimed", "duplicate", "limit_reached")
    }
    assert {"claimed": 2, "duplicate": 1, "limit_reached": 1} == counted


def test_a_limit_is_counted_in_the_transaction_of_the_claim(
    make_sends: MakeSends, fake_twilio: FakeTwilio, engine: Engine
) -> None:
    """Two statements more for each; `test_database_cost.py` has the send without any."""
    sends = make_sends(
        fake_twilio.url, engine=engine, limiter=RateLimiter(engine), limits="person=9/24h"
    )
    attempt(sends, send_request(message_id="before", sender="+15005550007"), is_local=True)
    work = observed(engine)

    decision = attempt(sends, send_request(sender=SENDER), is_local=True).decision

    assert isinstance(decision, Sent)
    assert (1, ["commit"], 4) == (work.begins, work.ends, len(work.statements))
