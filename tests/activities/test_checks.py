"""The send activity's last check, immediately before its POST."""

import time
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import pytest

from activities.send import TwilioSends
from signedfor.consent import Reason, Scope, Source, Suppression
from signedfor.contract import Day, SendWindow
from signedfor.contract.failures import FailureClass
from signedfor.message_activities import Expired, SendResult, Sent, Suppressed, WindowClosed
from signedfor.retry import LATEST_POST_START
from signedfor.store.database import open_engine
from signedfor.store.suppressions import Suppressions
from tests.activities.conftest import MakeSends
from tests.activities.fake_twilio import RECIPIENT, SENDER, FakeTwilio
from tests.activities.sending import attempt, failed_attempt, message, send_request

SERVICE = "MG" + "0" * 32
HOUR = timedelta(hours=1)


@pytest.mark.parametrize("reason", Reason)
def test_nothing_is_sent_to_a_suppressed_recipient(
    sends: TwilioSends, fake_twilio: FakeTwilio, suppressions: Suppressions, reason: Reason
) -> None:
    """A recipient who was suppressed since admission gets no message; the result has the reason."""
    suppressions.record(
        Suppression(recipient=RECIPIENT, reason=reason, source=Source.OPERATOR), by="test"
    )

    result = attempt(sends, number=2)

    assert SendResult(attempts=1, decision=Suppressed(reason=reason)) == result
    assert [] == fake_twilio.requests


@pytest.mark.parametrize(
    ("scope", "value", "suppressed"),
    [
        (Scope.SENDER, SENDER, True),
        (Scope.SENDER, SERVICE, False),
        (Scope.CATEGORY, "marketing", True),
        (Scope.CATEGORY, "alerts", False),
    ],
)
def test_the_last_check_uses_sender_and_category(  # noqa: PLR0917 - pytest passes them by name
    sends: TwilioSends,
    fake_twilio: FakeTwilio,
    suppressions: Suppressions,
    scope: Scope,
    value: str,
    suppressed: bool,
) -> None:
    """Only an opt-out from this sender or this category prevents the POST."""
    suppressions.record(
        Suppression(
            recipient=RECIPIENT,
            reason=Reason.OPTED_OUT,
            source=Source.INBOUND,
            scope=scope,
            scope_value=value,
        ),
        by="test",
    )

    result = attempt(sends, send_request(message=message(category="marketing")))

    assert suppressed == isinstance(result.decision, Suppressed)
    assert [] == fake_twilio.requests if suppressed else len(fake_twilio.requests) == 1


def test_nothing_is_sent_if_opt_outs_cannot_be_read(
    make_sends: MakeSends, fake_twilio: FakeTwilio, tmp_path: Path
) -> None:
    """The activity is retried."""
    engine = open_engine(f"sqlite:///{tmp_path / 'missing' / 'x.db'}")

    error, detail = failed_attempt(make_sends(fake_twilio.url, engine=engine))

    engine.dispose()
    assert FailureClass.TEMPORARILY_UNAVAILABLE == error.type
    assert not error.non_retryable
    assert detail.retry_after is not None
    assert [] == fake_twilio.requests


def test_an_expired_message_is_not_sent(sends: TwilioSends, fake_twilio: FakeTwilio) -> None:
    """After `expires_at` there is no POST."""
    late = message(expires_at=datetime.now(UTC) - timedelta(milliseconds=1))

    result = attempt(sends, send_request(message=late))

    assert SendResult(attempts=0, decision=Expired()) == result
    assert [] == fake_twilio.requests


def test_a_message_outside_its_window_is_not_sent(
    sends: TwilioSends, fake_twilio: FakeTwilio
) -> None:
    """The result says when the window opens."""
    now = datetime.now(UTC)
    tomorrow = Day(f"{now + timedelta(days=1):%a}".lower())
    window = SendWindow(opens="00:00", closes="24:00", days=(tomorrow,), time_zone="UTC")

    result = attempt(sends, send_request(message=message(send_window=window)))

    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    assert SendResult(attempts=0, decision=WindowClosed(opens_at=midnight)) == result
    assert [] == fake_twilio.requests


@pytest.mark.parametrize(
    ("to", "time_zone"), [("+18005550100", None), (RECIPIENT, "Europe/Secret")]
)
def test_a_window_that_never_opens(
    sends: TwilioSends, fake_twilio: FakeTwilio, to: str, time_zone: str | None
) -> None:
    """If new time zone data closed the window, the message soon goes back to admission."""
    window = SendWindow(opens="09:00", closes="10:00", time_zone=time_zone)

    decision = attempt(sends, send_request(message=message(to=to, send_window=window))).decision

    assert isinstance(decision, WindowClosed)
    wait = decision.opens_at - datetime.now(UTC)
    assert timedelta(seconds=30) < wait <= timedelta(minutes=1)
    assert [] == fake_twilio.requests


def test_an_attempt_that_is_too_old_sends_nothing(
    sends: TwilioSends, fake_twilio: FakeTwilio
) -> None:
    """A worker that was frozen must not start its POST after the latest allowed time."""
    error, _ = failed_attempt(sends, age=LATEST_POST_START + timedelta(seconds=0.1))

    assert FailureClass.TEMPORARILY_UNAVAILABLE == error.type
    assert not error.non_retryable
    assert [] == fake_twilio.requests


def test_an_attempt_that_is_a_little_late_sends(
    sends: TwilioSends, fake_twilio: FakeTwilio
) -> None:
    """Its POST starts before the latest allowed time."""
    attempt(sends, age=LATEST_POST_START - timedelta(seconds=1))

    assert 1 == len(fake_twilio.requests)


def test_nothing_is_sent_after_the_retry_budget(
    sends: TwilioSends, fake_twilio: FakeTwilio
) -> None:
    """There is no further attempt either."""
    over = send_request(deadline=datetime.now(UTC) - timedelta(milliseconds=1))

    error, _ = failed_attempt(sends, over)

    assert (FailureClass.TEMPORARILY_UNAVAILABLE, True) == (error.type, error.non_retryable)
    assert [] == fake_twilio.requests


def _freeze(monkeypatch: pytest.MonkeyPatch, *, after_readings: int, seconds: float) -> None:
    """Stop the activity for some seconds right after it has read the clock so many times."""
    readings = 0

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Clock":
            nonlocal readings
            readings += 1
            now = super().now(tz)
            if readings == after_readings:
                time.sleep(seconds)
            return now

    monkeypatch.setattr("activities.send.datetime", Clock)


@pytest.mark.parametrize("end", ["expires_at", "deadline"])
@pytest.mark.parametrize("after_readings", [3, 4])
def test_nothing_is_sent_if_the_worker_freezes_past_expiry_or_deadline(
    sends: TwilioSends,
    fake_twilio: FakeTwilio,
    monkeypatch: pytest.MonkeyPatch,
    end: str,
    after_readings: int,
) -> None:
    """Wherever it is frozen before the first byte, no POST starts too late.

    The third reading of the clock is for the POST's timeout, the fourth for the validity period.
    """
    ends_at = datetime.now(UTC) + timedelta(seconds=1)
    request = (
        send_request(message=message(expires_at=ends_at))
        if end == "expires_at"
        else send_request(message=message(expires_at=ends_at + HOUR), deadline=ends_at)
    )
    _freeze(monkeypatch, after_readings=after_readings, seconds=1.1)

    error, _ = failed_attempt(sends, request)

    assert FailureClass.TEMPORARILY_UNAVAILABLE == error.type
    assert [] == fake_twilio.requests
    assert datetime.now(UTC) > ends_at


def test_a_message_is_sent_if_the_worker_freezes_briefly(
    sends: TwilioSends, fake_twilio: FakeTwilio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The POST starts before the message expires."""
    request = send_request(message=message(expires_at=datetime.now(UTC) + timedelta(seconds=20)))
    _freeze(monkeypatch, after_readings=3, seconds=0.5)

    assert isinstance(attempt(sends, request).decision, Sent)
    assert 1 == len(fake_twilio.requests)
