"""The send activity's checks, immediately before its POST."""

import time
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from activities.send import TwilioSends
from signedfor import outage_hold
from signedfor.clock import MAX_SKEW
from signedfor.consent import OptIn, Reason, Scope, Source, Suppression
from signedfor.contract import Day, SendWindow
from signedfor.contract.failures import FailureClass
from signedfor.message_activities import (
    DatabaseAway,
    Expired,
    InvalidWindow,
    NoOptIn,
    NoSender,
    SendRequest,
    SendResult,
    Sent,
    Suppressed,
    WindowClosed,
    WrongClock,
)
from signedfor.retry import LATEST_POST_START
from signedfor.send_windows import opening, window_problem
from signedfor.store.database import open_engine
from signedfor.store.held_back_messages import HeldBackMessages
from signedfor.store.opt_ins import OptIns
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.send_attempts import SendAttempts
from signedfor.store.suppressions import Suppressions
from tests.activities.conftest import MakeSends
from tests.activities.fake_twilio import RECIPIENT, SENDER, FakeTwilio
from tests.activities.sending import POLICY, attempt, failed_attempt, message, send_request, unsent

SERVICE = "MG" + "0" * 32
DEFAULT_SENDER = "12345"
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)


def _suppress(suppressions: Suppressions, **fields: Any) -> None:
    suppressions.record(
        Suppression(
            **{
                "recipient": RECIPIENT,
                "reason": Reason.OPTED_OUT,
                "source": Source.INBOUND,
                **fields,
            }
        ),
        by="test",
    )


def _without_sender(**fields: Any) -> SendRequest:
    return send_request(message=message(sender=None), sender=None, **fields)


def test_a_message_without_a_sender_gets_the_default_sender(
    make_sends: MakeSends, fake_twilio: FakeTwilio
) -> None:
    """It is in the POST and in the result."""
    sends = make_sends(fake_twilio.url, default_sender=DEFAULT_SENDER)

    result = attempt(sends, _without_sender())

    assert isinstance(result.decision, Sent)
    assert DEFAULT_SENDER == result.sender
    assert DEFAULT_SENDER == dict(fake_twilio.requests[0].form)["From"]


def test_a_messages_own_sender_comes_first(make_sends: MakeSends, fake_twilio: FakeTwilio) -> None:
    """The default is only for messages that have none."""
    result = attempt(make_sends(fake_twilio.url, default_sender=DEFAULT_SENDER))

    assert SENDER == result.sender
    assert SENDER == dict(fake_twilio.requests[0].form)["From"]


def test_a_message_without_any_sender_is_not_sent(
    sends: TwilioSends, fake_twilio: FakeTwilio
) -> None:
    """It names none, and no default sender is configured."""
    expected = SendResult(attempts=0, sender=None, policy=POLICY, decision=NoSender())

    assert expected == attempt(sends, _without_sender())
    assert [] == fake_twilio.requests


def test_a_failed_attempt_reports_sender_and_policy(make_sends: MakeSends) -> None:
    """The workflow then knows them although nothing was sent."""
    sends = make_sends("http://127.0.0.1:9", default_sender=DEFAULT_SENDER)

    _, detail = failed_attempt(sends, _without_sender())

    assert (DEFAULT_SENDER, POLICY) == (detail.sender, detail.policy)


@pytest.mark.parametrize("reason", Reason)
def test_nothing_is_sent_to_a_suppressed_recipient(
    sends: TwilioSends, fake_twilio: FakeTwilio, suppressions: Suppressions, reason: Reason
) -> None:
    """Nor is a recipient who was suppressed after an attempt; the result has the reason."""
    _suppress(suppressions, reason=reason, source=Source.OPERATOR)

    results = [attempt(sends), attempt(sends, number=2)]

    suppressed = Suppressed(reason=reason)
    assert [unsent(suppressed), unsent(suppressed, attempts=1)] == results
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
def test_opt_outs_from_a_sender_or_a_category(  # noqa: PLR0917 - pytest passes them by name
    sends: TwilioSends,
    fake_twilio: FakeTwilio,
    suppressions: Suppressions,
    scope: Scope,
    value: str,
    suppressed: bool,
) -> None:
    """Only an opt-out from this sender or this category prevents the POST."""
    _suppress(suppressions, scope=scope, scope_value=value)

    result = attempt(sends, send_request(message=message(category="marketing")))

    assert suppressed == isinstance(result.decision, Suppressed)
    assert int(not suppressed) == len(fake_twilio.requests)


def test_an_opt_out_from_a_category_does_not_cover_messages_without_one(
    sends: TwilioSends, suppressions: Suppressions
) -> None:
    """They belong to no category."""
    _suppress(suppressions, scope=Scope.CATEGORY, scope_value="marketing")

    assert isinstance(attempt(sends).decision, Sent)


@pytest.mark.parametrize(
    ("category", "is_sent"), [("marketing", False), ("codes", True), (None, True)]
)
def test_a_category_that_demands_an_opt_in(
    make_sends: MakeSends,
    fake_twilio: FakeTwilio,
    sqlite_engine: Engine,
    category: str | None,
    is_sent: bool,
) -> None:
    """Without one the message is not sent, and that is kept as evidence; with one it is."""
    sends = make_sends(fake_twilio.url, require_opt_in=["marketing"])
    request = send_request(message=message(category=category))

    first = attempt(sends, request).decision

    assert isinstance(first, Sent if is_sent else NoOptIn)
    held_back = HeldBackMessages(sqlite_engine).of(RECIPIENT)
    assert ([] if is_sent else ["no_opt_in"]) == [each.reason for each in held_back]
    OptIns(sqlite_engine).record_all(
        [OptIn(recipient=RECIPIENT, category="marketing", source="test")], by="test"
    )
    again = attempt(sends, request.model_copy(update={"message_id": "again"}))
    assert isinstance(again.decision, Sent)


def test_what_was_held_back_is_kept_as_evidence(
    sends: TwilioSends, suppressions: Suppressions, sqlite_engine: Engine
) -> None:
    """With the evidence for what stopped it."""
    _suppress(suppressions, evidence="SM1")

    assert isinstance(attempt(sends).decision, Suppressed)

    (held_back,) = HeldBackMessages(sqlite_engine).of(RECIPIENT)
    assert ("parcel-7", "opted_out", "SM1") == (
        held_back.message_id,
        held_back.reason,
        held_back.evidence,
    )


def test_an_opt_out_from_the_default_sender(
    make_sends: MakeSends, fake_twilio: FakeTwilio, suppressions: Suppressions
) -> None:
    """It covers messages without a sender of their own, and only those."""
    _suppress(suppressions, scope=Scope.SENDER, scope_value=DEFAULT_SENDER)
    sends = make_sends(fake_twilio.url, default_sender=DEFAULT_SENDER)

    assert isinstance(attempt(sends, _without_sender()).decision, Suppressed)
    assert isinstance(attempt(sends).decision, Sent)


@pytest.mark.parametrize("expires_in", [HOUR, -HOUR], ids=["in time", "expired"])
def test_nothing_is_sent_or_decided_while_the_database_is_away(
    make_sends: MakeSends, fake_twilio: FakeTwilio, tmp_path: Path, expires_in: timedelta
) -> None:
    """The workflow waits for it; that is no attempt."""
    engine = open_engine(f"sqlite:///{tmp_path / 'missing' / 'x.db'}")
    request = send_request(message=message(expires_at=datetime.now(UTC) + expires_in))

    result = attempt(make_sends(fake_twilio.url, engine=engine), request)

    engine.dispose()
    assert unsent(DatabaseAway()) == result
    assert [] == fake_twilio.requests


@pytest.mark.parametrize("noticed", ["before the check", "by the claim"])
def test_nothing_is_sent_until_the_messages_of_an_outage_are_recorded(
    make_sends: MakeSends,
    fake_twilio: FakeTwilio,
    sqlite_engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    noticed: str,
) -> None:
    """A STOP may be among them. The claim is released: the message is sent later."""
    monkeypatch.setattr(outage_hold, "MAX_WAIT_IN_ATTEMPT", timedelta(0))
    sends = make_sends(fake_twilio.url)
    hold = sends._outage_hold
    if noticed == "by the claim":
        listener = lambda *_: hold.begin()  # noqa: E731 - SQLAlchemy removes it by identity
        event.listen(sqlite_engine, "begin", listener)
    else:
        hold.begin()

    held = attempt(sends)

    if noticed == "by the claim":
        event.remove(sqlite_engine, "begin", listener)
    assert unsent(DatabaseAway()) == held
    assert [] == fake_twilio.requests
    hold.end(outages=hold.outages)
    assert isinstance(attempt(sends).decision, Sent)


def test_an_expired_message_is_not_sent(sends: TwilioSends, fake_twilio: FakeTwilio) -> None:
    """After `expires_at` there is no POST."""
    late = message(expires_at=datetime.now(UTC) - timedelta(milliseconds=1))

    result = attempt(sends, send_request(message=late))

    assert unsent(Expired()) == result
    assert [] == fake_twilio.requests


def test_a_message_outside_its_window_is_not_sent(
    sends: TwilioSends, fake_twilio: FakeTwilio, sqlite_engine: Engine
) -> None:
    """The result says when the window opens, or that this is too late; no time is reserved."""
    now = datetime.now(UTC)
    tomorrow = Day(f"{now + timedelta(days=1):%a}".lower())
    window = SendWindow(opens="00:00", closes="24:00", days=(tomorrow,), time_zone="UTC")

    result = attempt(sends, send_request(message=message(send_window=window)))

    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    assert unsent(WindowClosed(opens_at=midnight)) == result
    late = message(send_window=window, expires_at=midnight)
    assert unsent(Expired()) == attempt(sends, send_request(message=late))
    assert [] == RateLimiter(sqlite_engine).states()
    assert [] == fake_twilio.requests


@pytest.mark.parametrize(
    ("to", "time_zone", "problem"),
    [
        ("+18005550100", None, "several time zones"),
        ("messenger:1234567", None, "needs a time_zone"),
        (RECIPIENT, "Europe/Secret", "time_zone is not an IANA time zone"),
    ],
)
def test_an_invalid_window(  # noqa: PLR0917 - pytest passes them by name
    sends: TwilioSends,
    fake_twilio: FakeTwilio,
    suppressions: Suppressions,
    to: str,
    time_zone: str | None,
    problem: str,
) -> None:
    """It is reported, even for a suppressed recipient, and without any value."""
    _suppress(suppressions, recipient=to)
    window = SendWindow(opens="09:00", closes="10:00", time_zone=time_zone)

    request = send_request(message=message(to=to, sender=SERVICE, send_window=window))
    result = attempt(sends, request)

    reported = window_problem(window, to) or ""
    assert unsent(InvalidWindow(problem=reported)) == result
    assert problem in reported
    for value in (to, "Secret", "09:00"):
        assert value not in reported
    assert [] == fake_twilio.requests


def _asleep_and_awake(name: str) -> tuple[str, str]:
    """A recipient for whom these quiet hours are closed for the next minute, and one for whom not.

    The numbers are of countries all around the world, with one time zone each.
    """
    window, soon = SendWindow(quiet_hours=(name,)), datetime.now(UTC) + timedelta(minutes=1)
    asleep, awake = "", ""
    for number in ("+81312345678", "+919812345678", "+971501234567", "+4915112345678",
                   "+233201234567", "+18095550123", "+12135550123", "+18085550123"):  # fmt: skip
        if opening(window, number, datetime.now(UTC)) > soon:
            asleep = number
        elif opening(window, number, soon) == soon:
            awake = number
    return asleep, awake


def test_the_quiet_hours_of_a_category_are_kept(
    make_sends: MakeSends, fake_twilio: FakeTwilio
) -> None:
    """Also by a message that has no window, and besides its own; other categories are sent."""
    sends = make_sends(fake_twilio.url, quiet_hours={"marketing": ("uae",)})
    asleep, awake = _asleep_and_awake("uae")
    any_time = SendWindow(opens="00:00", closes="24:00")
    opens_at = opening(SendWindow(quiet_hours=("uae",)), asleep, datetime.now(UTC))
    fields: list[dict[str, Any]] = [
        {"to": asleep, "category": "marketing"},
        {"to": asleep, "category": "marketing", "send_window": any_time},
        {"to": asleep, "category": "alerts"},
        {"to": asleep},
        {"to": awake, "category": "marketing"},
    ]

    decisions = [
        attempt(sends, send_request(message_id=f"m{n}", message=message(**each))).decision
        for n, each in enumerate(fields)
    ]

    assert [WindowClosed(opens_at=opens_at)] * 2 == decisions[:2]
    assert [Sent] * 3 == [type(each) for each in decisions[2:]]


def test_quiet_hours_of_a_category_that_never_open(
    make_sends: MakeSends, fake_twilio: FakeTwilio
) -> None:
    """The problem says that they are the category's: the caller may have given no window."""
    sends = make_sends(fake_twilio.url, quiet_hours={"marketing": ("us",)})

    toll_free = message(to="+18005550100", category="marketing")
    decision = attempt(sends, send_request(message=toll_free)).decision

    assert isinstance(decision, InvalidWindow)
    assert decision.problem.startswith("with the quiet hours of its category: does not open")
    assert [] == fake_twilio.requests


def test_a_window_that_does_not_open_any_more(
    sends: TwilioSends, fake_twilio: FakeTwilio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message does not wait if time zone changes keep the window closed."""
    monkeypatch.setattr("activities.send.window_problem", lambda _window, _to: None)
    window = SendWindow(opens="09:00", closes="10:00")

    to_several_zones = message(to="+18005550100", send_window=window)
    decision = attempt(sends, send_request(message=to_several_zones)).decision

    assert isinstance(decision, InvalidWindow)
    assert decision.problem.startswith("does not open")
    assert [] == fake_twilio.requests


@pytest.mark.parametrize("skew", [MAX_SKEW + SECOND, -MAX_SKEW - SECOND])
def test_a_local_attempt_of_a_worker_with_a_wrong_clock(
    make_sends: MakeSends, fake_twilio: FakeTwilio, sqlite_engine: Engine, skew: timedelta
) -> None:
    """It is no attempt, uses nothing of the sender's time, and is left to the task queue."""
    limiter = RateLimiter(sqlite_engine)
    request = send_request(requested_at=datetime.now(UTC) - skew, earlier_attempts=2)

    error, detail = failed_attempt(
        make_sends(fake_twilio.url, limiter=limiter), request, is_local=True
    )

    assert (FailureClass.TEMPORARILY_UNAVAILABLE, True) == (error.type, error.non_retryable)
    assert 2 == detail.attempts
    assert [] == limiter.states()
    assert SendAttempts(sqlite_engine, limiter).holder(request.message_id, 1) is None
    assert [] == fake_twilio.requests


@pytest.mark.parametrize("skew", [MAX_SKEW - SECOND, SECOND - MAX_SKEW])
def test_a_local_attempt_of_a_worker_whose_clock_is_a_little_off(
    sends: TwilioSends, fake_twilio: FakeTwilio, skew: timedelta
) -> None:
    """It is sent: the clocks need not agree exactly."""
    request = send_request(requested_at=datetime.now(UTC) - skew)

    assert isinstance(attempt(sends, request, is_local=True).decision, Sent)
    assert 1 == len(fake_twilio.requests)


@pytest.mark.parametrize(
    "options", [{"number": 2, "is_local": True}, {}], ids=["repeated", "from the task queue"]
)
def test_an_attempt_that_was_requested_long_ago(
    sends: TwilioSends, fake_twilio: FakeTwilio, options: dict[str, Any]
) -> None:
    """Only the first of the local attempts begins when it is requested."""
    request = send_request(requested_at=datetime.now(UTC) - 2 * MAX_SKEW)

    assert isinstance(attempt(sends, request, **options).decision, Sent)
    assert 1 == len(fake_twilio.requests)


@pytest.mark.parametrize("age", [LATEST_POST_START + SECOND / 10, -MAX_SKEW - SECOND, HOUR])
def test_an_attempt_at_a_time_that_cannot_be_right(
    make_sends: MakeSends, fake_twilio: FakeTwilio, sqlite_engine: Engine, age: timedelta
) -> None:
    """It is no attempt, also after failed ones, and is left to another worker.

    Either the clock is wrong or the worker was frozen before it began.
    """
    limiter = RateLimiter(sqlite_engine)
    request = send_request(earlier_attempts=2, deadline=datetime.now(UTC) + SECOND)

    result = attempt(make_sends(fake_twilio.url, limiter=limiter), request, age=age, number=4)

    assert unsent(WrongClock(), attempts=5) == result
    assert [] == limiter.states()
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


@pytest.mark.parametrize(("left", "posts"), [(SECOND, 1), (-SECOND, 0)])
def test_without_a_deadline_the_retry_budget_begins_when_the_send_is_requested(
    sends: TwilioSends, fake_twilio: FakeTwilio, left: timedelta, posts: int
) -> None:
    """The worker's settings say how long it is."""
    requested_at = datetime.now(UTC) + left - POLICY.retry_budget
    request = send_request(deadline=None, requested_at=requested_at)

    if posts:
        attempt(sends, request)
    else:
        assert failed_attempt(sends, request)[0].non_retryable

    assert posts == len(fake_twilio.requests)


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

    for module in ("send", "attempt", "post"):
        monkeypatch.setattr(f"activities.{module}.datetime", Clock)


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
