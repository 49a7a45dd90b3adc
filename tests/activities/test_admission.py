import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.admission import Admission
from signedfor.consent import Reason, Scope, Source, Suppression
from signedfor.contract import CampaignMessage, CampaignState, Day, Priority, SendWindow
from signedfor.message_activities import (
    AdmissionRequest,
    AdmissionResult,
    Admitted,
    CampaignCanceled,
    Expired,
    InvalidWindow,
    NoSender,
    PolicySnapshot,
    Reservation,
    Resumed,
    ResumeRequest,
    ResumeResult,
    Suppressed,
    WindowCheck,
    WindowClosed,
)
from signedfor.store.campaigns import Campaigns
from signedfor.store.database import DatabaseUnavailable, open_engine
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.suppressions import Suppressions
from tests.activities.fake_twilio import RECIPIENT, SENDER
from tests.activities.sending import assert_no_personal_data

DEFAULT_SENDER = "12345"
POLICY = PolicySnapshot(
    receipt_checks=(timedelta(minutes=1),),
    retry_budget=timedelta(hours=1),
    unknown_wait=timedelta(seconds=3),
    dead_letter_hold=timedelta(days=2),
)


def _request(**fields: Any) -> AdmissionRequest:
    return AdmissionRequest(
        **{
            "to": RECIPIENT,
            "sender": SENDER,
            "category": None,
            "priority": Priority.NORMAL,
            "segments": 1,
            "expires_at": None,
            **fields,
        }
    )


def _admission(suppressions: Suppressions, default_sender: str | None = None) -> Admission:
    return Admission(
        suppressions,
        RateLimiter(suppressions._engine),
        Campaigns(suppressions._engine),
        default_sender=default_sender,
        policy=POLICY,
    )


def _await_resume(admission: Admission, request: ResumeRequest, *, number: int = 1) -> ResumeResult:
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(environment.info, attempt=number)
    return environment.run(admission.await_resume, request)


def _reserved(admission: Admission, **fields: Any) -> datetime:
    decision = admission.admit(_request(**fields)).decision
    assert isinstance(decision, Admitted)
    return decision.reserved_at


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


@pytest.mark.parametrize("default_sender", [None, DEFAULT_SENDER])
def test_an_allowed_message_is_admitted_at_once(
    suppressions: Suppressions, default_sender: str | None
) -> None:
    """The result has the message's own sender and the configured policy."""
    result = _admission(suppressions, default_sender).admit(_request())

    admitted = result.decision
    assert isinstance(admitted, Admitted)
    assert admitted.reserved_at <= datetime.now(UTC)
    assert admitted.is_due
    assert AdmissionResult(decision=admitted, policy=POLICY, sender=SENDER) == result


def test_a_message_without_a_sender_gets_the_default_sender(suppressions: Suppressions) -> None:
    """The sender is in the result."""
    result = _admission(suppressions, DEFAULT_SENDER).admit(_request(sender=None))

    assert isinstance(result.decision, Admitted)
    assert DEFAULT_SENDER == result.sender


def test_a_message_without_any_sender_is_not_admitted(suppressions: Suppressions) -> None:
    """It has no sender and no default sender is configured."""
    result = _admission(suppressions).admit(_request(sender=None))

    assert AdmissionResult(decision=NoSender(), policy=POLICY, sender=None) == result


@pytest.mark.parametrize(
    ("left", "decision"),
    [(timedelta(seconds=-1), Expired), (timedelta(minutes=1), Admitted)],
)
def test_an_expired_message_is_not_admitted(
    suppressions: Suppressions, left: timedelta, decision: type
) -> None:
    """A message that has not expired yet is admitted."""
    result = _admission(suppressions).admit(_request(expires_at=datetime.now(UTC) + left))

    assert isinstance(result.decision, decision)


@pytest.mark.parametrize("reason", Reason)
def test_a_message_to_a_suppressed_recipient_is_not_admitted(
    suppressions: Suppressions, reason: Reason
) -> None:
    """The decision has the reason."""
    _suppress(suppressions, reason=reason)

    result = _admission(suppressions).admit(_request())

    assert Suppressed(reason=reason) == result.decision


def test_an_opt_out_from_the_default_sender(suppressions: Suppressions) -> None:
    """It covers messages without a sender of their own, and only those."""
    _suppress(suppressions, scope=Scope.SENDER, scope_value=DEFAULT_SENDER)

    admission = _admission(suppressions, DEFAULT_SENDER)

    assert isinstance(admission.admit(_request(sender=None)).decision, Suppressed)
    assert isinstance(admission.admit(_request()).decision, Admitted)


def test_an_opt_out_from_a_category(suppressions: Suppressions) -> None:
    """It covers that category only."""
    _suppress(suppressions, scope=Scope.CATEGORY, scope_value="marketing")

    admission = _admission(suppressions)

    assert isinstance(admission.admit(_request(category="marketing")).decision, Suppressed)
    assert isinstance(admission.admit(_request(category="alerts")).decision, Admitted)
    assert isinstance(admission.admit(_request()).decision, Admitted)


def test_times_are_reserved_at_the_senders_rate(suppressions: Suppressions) -> None:
    """Each message takes as much time as it has segments; an urgent one does not queue."""
    admission = _admission(suppressions)
    reserved = [
        _reserved(admission, **fields)
        for fields in ({"segments": 3}, {}, {"segments": 2}, {}, {"priority": Priority.URGENT})
    ]

    waits = [round((each - reserved[0]).total_seconds()) for each in reserved]
    assert [0, 3, 4, 6, 0] == waits


def test_a_message_that_would_expire_before_its_reserved_time(suppressions: Suppressions) -> None:
    """It expires at once and reserves nothing."""
    admission = _admission(suppressions)
    admission.admit(_request(segments=10))
    soon = datetime.now(UTC) + timedelta(seconds=5)

    decisions = [admission.admit(_request(expires_at=soon)).decision for _ in range(2)]

    assert [Expired(), Expired()] == decisions
    assert admission._rate_limiter.backlog(SENDER) <= timedelta(seconds=10)


def test_a_message_outside_its_window(suppressions: Suppressions) -> None:
    """It waits until the window opens and reserves no time, or expires if that is too late."""
    admission = _admission(suppressions)
    now = datetime.now(UTC)
    tomorrow = Day(f"{now + timedelta(days=1):%a}".lower())
    window = SendWindow(opens="00:00", closes="24:00", days=(tomorrow,), time_zone="UTC")

    result = admission.admit(_request(send_window=window))

    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    assert WindowClosed(opens_at=midnight) == result.decision
    assert timedelta(0) == admission._rate_limiter.backlog(SENDER)
    late = admission.admit(_request(send_window=window, expires_at=midnight))
    assert isinstance(late.decision, Expired)


def test_a_message_whose_window_closes_before_its_reserved_time(
    suppressions: Suppressions,
) -> None:
    """It waits for the next window and leaves the time to other messages."""
    admission = _admission(suppressions)
    admission.admit(_request(segments=2 * 86_400))
    today = Day(f"{datetime.now(UTC):%a}".lower())
    window = SendWindow(opens="00:00", closes="24:00", days=(today,), time_zone="UTC")

    decision = admission.admit(_request(send_window=window)).decision

    assert isinstance(decision, WindowClosed)
    assert decision.opens_at > datetime.now(UTC) + timedelta(days=5)
    assert admission._rate_limiter.backlog(SENDER) <= timedelta(days=2)


@pytest.mark.parametrize(
    ("to", "time_zone", "problem"),
    [
        ("+18005550100", None, "several time zones"),
        ("messenger:1234567", None, "needs a time_zone"),
        (RECIPIENT, "Europe/Secret", "time_zone is not an IANA time zone"),
    ],
)
def test_an_invalid_window(
    suppressions: Suppressions, to: str, time_zone: str | None, problem: str
) -> None:
    """It is reported at once, even for a suppressed recipient, and without any value."""
    _suppress(suppressions, recipient=to)
    window = SendWindow(opens="09:00", closes="10:00", time_zone=time_zone)

    admission = _admission(suppressions)
    result = admission.admit(_request(to=to, send_window=window))

    reported = admission.check_window(WindowCheck(to=to, send_window=window))
    assert (InvalidWindow(problem=reported), SENDER) == (result.decision, result.sender)
    assert problem in reported
    for value in (to, "Secret", "09:00"):
        assert value not in reported


def test_a_window_that_does_not_open_any_more(
    suppressions: Suppressions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message does not wait if time zone changes keep the window closed."""
    monkeypatch.setattr("activities.admission.window_problem", lambda _window, _to: None)
    window = SendWindow(opens="09:00", closes="10:00")

    result = _admission(suppressions).admit(_request(to="+18005550100", send_window=window))

    assert isinstance(result.decision, InvalidWindow)
    assert result.decision.problem.startswith("does not open")


def test_paused_messages_check_again_at_their_senders_rate(suppressions: Suppressions) -> None:
    """While the sender is paused, messages check again one after another."""
    admission = _admission(suppressions)
    admission._rate_limiter.pause(SENDER)
    request = ResumeRequest(sender=SENDER, segments=10, campaign_id=None)

    waits = []
    for _ in range(3):
        with pytest.raises(ApplicationError) as caught:
            _await_resume(admission, request)
        assert caught.value.next_retry_delay is not None
        waits.append(round(caught.value.next_retry_delay.total_seconds()))
    admission._rate_limiter.resume(SENDER)

    assert [5, 10, 20] == waits
    assert Resumed() == _await_resume(admission, request).decision


def test_a_paused_urgent_message_checks_again_soon(suppressions: Suppressions) -> None:
    """The backlog does not delay it, and its checks reserve no time."""
    admission = _admission(suppressions)
    admission._rate_limiter.reserve(SENDER, 3600, is_urgent=False)
    admission._rate_limiter.pause(SENDER)
    request = ResumeRequest(sender=SENDER, segments=10, campaign_id=None, has_priority=True)

    waits = []
    for number in (1, 2, 100):
        with pytest.raises(ApplicationError) as caught:
            _await_resume(admission, request, number=number)
        waits.append(caught.value.next_retry_delay)

    assert [timedelta(seconds=each) for each in (5, 10, 60)] == waits
    assert admission._rate_limiter.backlog(SENDER) <= timedelta(hours=1)


def test_paused_messages_of_a_fast_sender_slow_down(suppressions: Suppressions) -> None:
    """After a while each checks once a minute, whatever the sender's rate."""
    admission = _admission(suppressions)
    admission._rate_limiter.set_rate(SENDER, 100)
    admission._rate_limiter.pause(SENDER)
    request = ResumeRequest(sender=SENDER, segments=1, campaign_id=None)

    for _ in range(20):
        with pytest.raises(ApplicationError) as caught:
            _await_resume(admission, request, number=30)
        assert timedelta(minutes=1) == caught.value.next_retry_delay


def test_a_released_reservation_goes_to_the_next_message(suppressions: Suppressions) -> None:
    """The next message gets the released time."""
    admission = _admission(suppressions)
    admission.admit(_request(segments=100))
    first = _reserved(admission, segments=50)

    admission.release_reservation(
        Reservation(sender=SENDER, segments=50, reserved_at=first, is_urgent=False, is_retry=False)
    )

    second = _reserved(admission)
    assert abs(second - first) < timedelta(seconds=0.001), "except for rounding"


def test_messages_of_a_paused_campaign_check_again(suppressions: Suppressions) -> None:
    """They check at growing intervals until the campaign is resumed or canceled."""
    admission = _admission(suppressions)
    campaigns = admission._campaigns
    message = CampaignMessage(sender=SENDER, body="x")
    campaigns.create("spring", message)
    campaigns.finish_loading("spring", rows=0, segments=0)
    request = ResumeRequest(sender=SENDER, segments=1, campaign_id="spring")

    campaigns.set_state("spring", CampaignState.PAUSED)
    waits = []
    for number in (1, 2, 100):
        with pytest.raises(ApplicationError) as caught:
            _await_resume(admission, request, number=number)
        waits.append(caught.value.next_retry_delay)
    assert [timedelta(seconds=each) for each in (5, 10, 60)] == waits

    campaigns.set_state("spring", CampaignState.RUNNING)
    assert Resumed() == _await_resume(admission, request).decision
    campaigns.set_state("spring", CampaignState.CANCELED)
    assert CampaignCanceled() == _await_resume(admission, request).decision


def test_an_unavailable_database_fails_the_admission(tmp_path: Path) -> None:
    """If opt-outs cannot be read, the activity fails with a retryable error."""
    engine = open_engine(f"sqlite:///{tmp_path / 'missing' / 'x.db'}")

    with pytest.raises(DatabaseUnavailable) as caught:
        _admission(Suppressions(engine)).admit(_request())

    engine.dispose()
    assert_no_personal_data(caught.value)
