"""What a message does while it waits: the end of a pause, a hold, its window, its reservation."""

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, update
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.testing import ActivityEnvironment

from activities.waits import Waits
from signedfor.clock import MAX_SKEW
from signedfor.contract import CampaignMessage, CampaignState, SendWindow
from signedfor.message_activities import (
    CampaignCanceled,
    InputCheck,
    Reservation,
    Resumed,
    ResumeRequest,
    ResumeResult,
)
from signedfor.send_windows import window_problem
from signedfor.store.account_hold import AccountHold
from signedfor.store.campaigns import Campaigns
from signedfor.store.database import DatabaseUnavailable, open_engine, transaction
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.tables import account_hold
from tests.activities.fake_twilio import RECIPIENT, SENDER
from tests.activities.sending import assert_no_personal_data, no_hold

REQUEST = ResumeRequest(sender=SENDER, segments=10, campaign_id=None)


def _waits(engine: Engine) -> Waits:
    return Waits(RateLimiter(engine), Campaigns(engine), AccountHold(engine), no_hold(engine))


@pytest.fixture
def limiter(sqlite_engine: Engine) -> RateLimiter:
    """The senders' rate limiters, of one segment per second for the sender in use."""
    return RateLimiter(sqlite_engine)


@pytest.fixture
def waits(sqlite_engine: Engine) -> Waits:
    """The activities."""
    return _waits(sqlite_engine)


def _await_resume(
    waits: Waits,
    request: ResumeRequest = REQUEST,
    *,
    number: int = 1,
    skew: timedelta = timedelta(0),
) -> ResumeResult:
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(
        environment.info, attempt=number, started_time=datetime.now(UTC) - skew
    )
    return environment.run(waits.await_resume, request)


def _checks_again_in(
    waits: Waits, request: ResumeRequest = REQUEST, *, number: int = 1, type_: str = "Paused"
) -> timedelta:
    with pytest.raises(ApplicationError) as caught:
        _await_resume(waits, request, number=number)
    error = caught.value
    assert_no_personal_data(error)
    assert (type_, False) == (error.type, error.non_retryable)
    assert ApplicationErrorCategory.BENIGN == error.category, "it is expected, not an alarm"
    assert error.next_retry_delay is not None
    return error.next_retry_delay


def test_without_a_pause_the_wait_is_over(waits: Waits) -> None:
    """The database answers, which is all that such a message waits for."""
    assert Resumed() == _await_resume(waits).decision


def test_paused_messages_check_again_at_their_senders_rate(
    waits: Waits, limiter: RateLimiter
) -> None:
    """While the sender is paused, messages check again one after another."""
    limiter.pause(SENDER)

    seconds = [round(_checks_again_in(waits).total_seconds()) for _ in range(3)]
    limiter.resume(SENDER)

    assert [5, 10, 20] == seconds
    assert Resumed() == _await_resume(waits).decision


def test_a_paused_urgent_message_checks_again_soon(waits: Waits, limiter: RateLimiter) -> None:
    """The backlog does not delay it, and its checks reserve no time."""
    limiter.reserve(SENDER, 3600, is_urgent=False)
    limiter.pause(SENDER)
    urgent = REQUEST.model_copy(update={"has_priority": True})

    waited = [_checks_again_in(waits, urgent, number=number) for number in (1, 2, 100)]

    assert [timedelta(seconds=each) for each in (5, 10, 60)] == waited
    assert limiter.backlog(SENDER) <= timedelta(hours=1)


def test_paused_messages_of_a_fast_sender_slow_down(waits: Waits, limiter: RateLimiter) -> None:
    """After a while each checks once a minute, whatever the sender's rate."""
    limiter.set_rate(SENDER, 100)
    limiter.pause(SENDER)
    request = REQUEST.model_copy(update={"segments": 1})

    for _ in range(20):
        assert timedelta(minutes=1) == _checks_again_in(waits, request, number=30)


def test_messages_of_a_paused_campaign_check_again(waits: Waits, sqlite_engine: Engine) -> None:
    """They check at growing intervals until the campaign is resumed or canceled."""
    campaigns = Campaigns(sqlite_engine)
    campaigns.create("spring", CampaignMessage(sender=SENDER, body="x"))
    campaigns.finish_loading("spring", rows=0, segments=0)
    request = REQUEST.model_copy(update={"campaign_id": "spring"})

    campaigns.set_state("spring", CampaignState.PAUSED)
    waited = [_checks_again_in(waits, request, number=number) for number in (1, 2, 100)]
    assert [timedelta(seconds=each) for each in (5, 10, 60)] == waited

    campaigns.set_state("spring", CampaignState.RUNNING)
    assert Resumed() == _await_resume(waits, request).decision
    campaigns.set_state("spring", CampaignState.CANCELED)
    assert CampaignCanceled() == _await_resume(waits, request).decision


def test_messages_check_again_while_the_account_is_held(
    waits: Waits, sqlite_engine: Engine
) -> None:
    """They check at growing intervals until one may be tried, or the hold has ended."""
    hold = AccountHold(sqlite_engine)
    hold.begin(20003)

    waited = [_checks_again_in(waits, number=number, type_="AccountHeld") for number in (1, 2, 100)]
    assert [timedelta(seconds=each) for each in (5, 10, 60)] == waited

    with transaction(sqlite_engine) as connection:
        connection.execute(update(account_hold).values(next_try_at=datetime.now(UTC)))
    assert Resumed() == _await_resume(waits).decision
    hold.begin(20003)
    hold.end()
    assert Resumed() == _await_resume(waits).decision


@pytest.mark.parametrize("skew", [MAX_SKEW + timedelta(seconds=1), timedelta(hours=-1)])
def test_a_worker_with_a_wrong_clock_ends_no_wait(
    waits: Waits, limiter: RateLimiter, skew: timedelta
) -> None:
    """It reserves nothing either; another worker may take the check."""
    limiter.pause(SENDER)
    limiter.reserve(SENDER, 1, is_urgent=False)
    before = limiter.backlog(SENDER)

    with pytest.raises(ApplicationError) as refused:
        _await_resume(waits, skew=skew)

    assert ("ClockSkew", False) == (refused.value.type, refused.value.non_retryable)
    assert limiter.backlog(SENDER) <= before


def test_the_wait_goes_on_while_the_database_is_away(tmp_path: Path) -> None:
    """The activity fails with an error that is retried."""
    engine = open_engine(f"sqlite:///{tmp_path / 'missing' / 'x.db'}")

    with pytest.raises(DatabaseUnavailable) as caught:
        _await_resume(_waits(engine))

    engine.dispose()
    assert_no_personal_data(caught.value)


def test_a_released_reservation_goes_to_the_next_message(
    waits: Waits, limiter: RateLimiter
) -> None:
    """The next message gets the released time."""
    limiter.reserve(SENDER, 100, is_urgent=False)
    first = limiter.reserve(SENDER, 50, is_urgent=False)

    waits.release_reservation(
        Reservation(sender=SENDER, segments=50, reserved_at=first, is_urgent=False, is_retry=False)
    )

    second = limiter.reserve(SENDER, 1, is_urgent=False)
    assert abs(second - first) < timedelta(seconds=0.001), "except for rounding"


@pytest.mark.parametrize(
    ("to", "time_zone"), [("+18005550100", None), (RECIPIENT, "Europe/Secret")]
)
def test_an_invalid_window_is_found_before_its_time(
    waits: Waits, to: str, time_zone: str | None
) -> None:
    """The text is the one that the send would give."""
    window = SendWindow(opens="09:00", closes="10:00", time_zone=time_zone)

    found = waits.check_input(InputCheck(to=to, sender=SENDER, send_window=window))

    assert (("send_window", window_problem(window, to)),) == found.problems


def test_a_valid_window_has_no_problem(waits: Waits) -> None:
    """It opens, if not now."""
    window = SendWindow(opens="09:00", closes="10:00", time_zone="Europe/Berlin")

    assert (
        () == waits.check_input(InputCheck(to=RECIPIENT, sender=None, send_window=window)).problems
    )
