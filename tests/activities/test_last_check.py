"""What the send activity looks at immediately before its POST."""

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
from tests.activities.edge import RECIPIENT, SENDER, Edge
from tests.activities.sending import attempt, failed_attempt, message, send_request

SERVICE = "MG" + "0" * 32
HOUR = timedelta(hours=1)


@pytest.mark.parametrize("reason", Reason)
def test_suppressed(
    sends: TwilioSends, edge: Edge, suppressions: Suppressions, reason: Reason
) -> None:
    """Who is suppressed by the time of the attempt gets no POST, and the reason is named."""
    suppressions.record(
        Suppression(recipient=RECIPIENT, reason=reason, source=Source.OPERATOR), by="test"
    )

    result = attempt(sends, number=2)

    assert SendResult(attempts=1, decision=Suppressed(reason=reason)) == result
    assert [] == edge.asked


@pytest.mark.parametrize(
    ("scope", "value", "suppressed"),
    [
        (Scope.SENDER, SENDER, True),
        (Scope.SENDER, SERVICE, False),
        (Scope.CATEGORY, "marketing", True),
        (Scope.CATEGORY, "alerts", False),
    ],
)
def test_scope_of_the_last_check(  # noqa: PLR0917 - pytest passes them by name
    sends: TwilioSends,
    edge: Edge,
    suppressions: Suppressions,
    scope: Scope,
    value: str,
    suppressed: bool,
) -> None:
    """The last check asks for this sender and this category."""
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
    assert [] == edge.asked if suppressed else len(edge.asked) == 1


def test_database_unreachable(make_sends: MakeSends, edge: Edge, tmp_path: Path) -> None:
    """When consent cannot be read nothing is sent, and it is tried again."""
    engine = open_engine(f"sqlite:///{tmp_path / 'gone' / 'x.db'}")

    error, detail = failed_attempt(make_sends(edge.url, engine=engine))

    engine.dispose()
    assert FailureClass.TEMPORARILY_UNAVAILABLE == error.type
    assert not error.non_retryable
    assert detail.retry_after is not None
    assert [] == edge.asked


def test_expired(sends: TwilioSends, edge: Edge) -> None:
    """After `expires_at` there is no POST."""
    late = message(expires_at=datetime.now(UTC) - timedelta(milliseconds=1))

    result = attempt(sends, send_request(message=late))

    assert SendResult(attempts=0, decision=Expired()) == result
    assert [] == edge.asked


def test_a_closed_window(sends: TwilioSends, edge: Edge) -> None:
    """Outside its window there is no POST, and it is said when to come again."""
    now = datetime.now(UTC)
    tomorrow = Day(f"{now + timedelta(days=1):%a}".lower())
    window = SendWindow(opens="00:00", closes="24:00", days=(tomorrow,), time_zone="UTC")

    result = attempt(sends, send_request(message=message(send_window=window)))

    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    assert SendResult(attempts=0, decision=WindowClosed(opens_at=midnight)) == result
    assert [] == edge.asked


@pytest.mark.parametrize(
    ("to", "time_zone"), [("+18005550100", None), (RECIPIENT, "Europe/Secret")]
)
def test_a_window_that_never_opens(
    sends: TwilioSends, edge: Edge, to: str, time_zone: str | None
) -> None:
    """It was open by older tables and is closed now: the message is admitted again, and soon."""
    window = SendWindow(opens="09:00", closes="10:00", time_zone=time_zone)

    decision = attempt(sends, send_request(message=message(to=to, send_window=window))).decision

    assert isinstance(decision, WindowClosed)
    wait = decision.opens_at - datetime.now(UTC)
    assert timedelta(seconds=30) < wait <= timedelta(minutes=1)
    assert [] == edge.asked


def test_a_frozen_worker(sends: TwilioSends, edge: Edge) -> None:
    """An attempt that wakes up later than its POST may begin sends nothing."""
    error, _ = failed_attempt(sends, age=LATEST_POST_START + timedelta(seconds=0.1))

    assert FailureClass.TEMPORARILY_UNAVAILABLE == error.type
    assert not error.non_retryable
    assert [] == edge.asked


def test_an_attempt_within_its_time(sends: TwilioSends, edge: Edge) -> None:
    """An attempt that is a little late still sends."""
    attempt(sends, age=LATEST_POST_START - timedelta(seconds=1))

    assert 1 == len(edge.asked)


def test_deadline_passed(sends: TwilioSends, edge: Edge) -> None:
    """After the retry budget there is no POST, and no further attempt."""
    over = send_request(deadline=datetime.now(UTC) - timedelta(milliseconds=1))

    error, _ = failed_attempt(sends, over)

    assert (FailureClass.TEMPORARILY_UNAVAILABLE, True) == (error.type, error.non_retryable)
    assert [] == edge.asked


def _freeze(monkeypatch: pytest.MonkeyPatch, *, after_looks: int, seconds: float) -> None:
    """Stop the activity for so long right after it has looked at the clock so many times."""
    looks = 0

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Clock":
            nonlocal looks
            looks += 1
            moment = super().now(tz)
            if looks == after_looks:
                time.sleep(seconds)
            return moment

    monkeypatch.setattr("activities.send.datetime", Clock)


@pytest.mark.parametrize("end", ["expires_at", "deadline"])
@pytest.mark.parametrize("after_looks", [2, 3])
def test_frozen_beyond_the_messages_time(
    sends: TwilioSends, edge: Edge, monkeypatch: pytest.MonkeyPatch, end: str, after_looks: int
) -> None:
    """Whatever holds it up on its way to the first byte, no POST begins after its time.

    The second look at the clock is for how long it may, the third for its validity at Twilio.
    """
    ends_at = datetime.now(UTC) + timedelta(seconds=1)
    request = (
        send_request(message=message(expires_at=ends_at))
        if end == "expires_at"
        else send_request(message=message(expires_at=ends_at + HOUR), deadline=ends_at)
    )
    _freeze(monkeypatch, after_looks=after_looks, seconds=1.1)

    error, _ = failed_attempt(sends, request)

    assert FailureClass.TEMPORARILY_UNAVAILABLE == error.type
    assert [] == edge.asked
    assert datetime.now(UTC) > ends_at


def test_held_up_within_the_messages_time(
    sends: TwilioSends, edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that is held up and still has time is sent."""
    request = send_request(message=message(expires_at=datetime.now(UTC) + timedelta(seconds=20)))
    _freeze(monkeypatch, after_looks=3, seconds=0.5)

    assert isinstance(attempt(sends, request).decision, Sent)
    assert 1 == len(edge.asked)
