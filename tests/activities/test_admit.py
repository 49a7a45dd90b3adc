import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.admit import Admissions
from signedfor.consent import Reason, Scope, Source, Suppression
from signedfor.contract import CampaignMessage, CampaignState, Day, Priority, SendWindow
from signedfor.steps import (
    Admission,
    AdmitRequest,
    Decision,
    GiveBackRequest,
    Release,
    ReleaseRequest,
    Terms,
    WindowCheck,
)
from signedfor.store.campaigns import Campaigns
from signedfor.store.database import DatabaseUnavailable, open_engine
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.suppressions import Suppressions
from tests.activities.edge import RECIPIENT, SENDER
from tests.activities.sending import assert_silent

HOUSE = "12345"
TERMS = Terms(
    receipt_checks=(timedelta(minutes=1),),
    retry_budget=timedelta(hours=1),
    unknown_wait=timedelta(seconds=3),
    letter_hold=timedelta(days=2),
)


def _request(**fields: Any) -> AdmitRequest:
    return AdmitRequest(
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


def _admissions(suppressions: Suppressions, default_sender: str | None = None) -> Admissions:
    return Admissions(
        suppressions,
        RateLimiter(suppressions._engine),
        Campaigns(suppressions._engine),
        default_sender=default_sender,
        terms=TERMS,
    )


def _look(admissions: Admissions, release: ReleaseRequest, *, number: int = 1) -> Release:
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(environment.info, attempt=number)
    return environment.run(admissions.await_release, release)


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
        who="test",
    )


@pytest.mark.parametrize("default_sender", [None, HOUSE])
def test_go(suppressions: Suppressions, default_sender: str | None) -> None:
    """A message that nothing forbids goes at once, from its own sender, under the house's terms."""
    admission = _admissions(suppressions, default_sender).admit(_request())

    assert admission.not_before is not None
    assert admission.not_before <= datetime.now(UTC)
    assert admission.is_now
    expected = Admission(decision=Decision.GO, terms=TERMS, sender=SENDER)
    assert expected == admission.model_copy(update={"not_before": None, "is_now": False})


def test_default_sender(suppressions: Suppressions) -> None:
    """A message without a sender goes from the default one."""
    admission = _admissions(suppressions, HOUSE).admit(_request(sender=None))

    assert (Decision.GO, HOUSE) == (admission.decision, admission.sender)


def test_no_sender(suppressions: Suppressions) -> None:
    """Without any sender the message cannot go."""
    admission = _admissions(suppressions).admit(_request(sender=None))

    assert Admission(decision=Decision.NO_SENDER, terms=TERMS) == admission


@pytest.mark.parametrize(
    ("left", "decision"),
    [(timedelta(seconds=-1), Decision.EXPIRED), (timedelta(minutes=1), Decision.GO)],
)
def test_expiry(suppressions: Suppressions, left: timedelta, decision: Decision) -> None:
    """A message whose time has passed is not admitted."""
    admission = _admissions(suppressions).admit(_request(expires_at=datetime.now(UTC) + left))

    assert decision == admission.decision


@pytest.mark.parametrize("reason", Reason)
def test_suppressed(suppressions: Suppressions, reason: Reason) -> None:
    """A suppressed recipient is not admitted, and the reason is told."""
    _suppress(suppressions, reason=reason)

    admission = _admissions(suppressions).admit(_request())

    assert (Decision.SUPPRESSED, reason) == (admission.decision, admission.suppressed_by)


def test_suppressed_for_the_default_sender(suppressions: Suppressions) -> None:
    """An opt-out from the default sender holds for messages that name no sender."""
    _suppress(suppressions, scope=Scope.SENDER, scope_value=HOUSE)

    admissions = _admissions(suppressions, HOUSE)

    assert Decision.SUPPRESSED == admissions.admit(_request(sender=None)).decision
    assert Decision.GO == admissions.admit(_request()).decision


def test_suppressed_category(suppressions: Suppressions) -> None:
    """An opt-out from a category holds for that category only."""
    _suppress(suppressions, scope=Scope.CATEGORY, scope_value="marketing")

    admissions = _admissions(suppressions)

    assert Decision.SUPPRESSED == admissions.admit(_request(category="marketing")).decision
    assert Decision.GO == admissions.admit(_request(category="alerts")).decision
    assert Decision.GO == admissions.admit(_request()).decision


def test_a_slot(suppressions: Suppressions) -> None:
    """One after the other, at the sender's rate, segment by segment; an urgent one goes first."""
    admissions = _admissions(suppressions)
    slots = [
        admissions.admit(_request(**fields)).not_before
        for fields in ({"segments": 3}, {}, {"segments": 2}, {}, {"priority": Priority.URGENT})
    ]

    first = slots[0]
    assert first is not None
    waits = [round((slot - first).total_seconds()) for slot in slots if slot is not None]
    assert [0, 3, 4, 6, 0] == waits


def test_a_slot_after_its_time(suppressions: Suppressions) -> None:
    """A message that would expire before its slot has expired now, and takes no slot."""
    admissions = _admissions(suppressions)
    admissions.admit(_request(segments=10))
    soon = datetime.now(UTC) + timedelta(seconds=5)

    verdicts = [admissions.admit(_request(expires_at=soon)).decision for _ in range(2)]

    assert [Decision.EXPIRED, Decision.EXPIRED] == verdicts
    assert admissions._pacing.backlog(SENDER) <= timedelta(seconds=10)


def test_a_closed_window(suppressions: Suppressions) -> None:
    """A message outside its window is told when it opens, and takes no slot."""
    admissions = _admissions(suppressions)
    now = datetime.now(UTC)
    tomorrow = Day(f"{now + timedelta(days=1):%a}".lower())
    window = SendWindow(opens="00:00", closes="24:00", days=(tomorrow,), time_zone="UTC")

    admission = admissions.admit(_request(send_window=window))

    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    assert (Decision.CLOSED, midnight) == (admission.decision, admission.not_before)
    assert timedelta(0) == admissions._pacing.backlog(SENDER)
    late = admissions.admit(_request(send_window=window, expires_at=midnight))
    assert Decision.EXPIRED is late.decision


def test_a_slot_after_the_window(suppressions: Suppressions) -> None:
    """A slot after the window has closed is left for others; the message waits for the next."""
    admissions = _admissions(suppressions)
    admissions.admit(_request(segments=2 * 86_400))
    today = Day(f"{datetime.now(UTC):%a}".lower())
    window = SendWindow(opens="00:00", closes="24:00", days=(today,), time_zone="UTC")

    admission = admissions.admit(_request(send_window=window))

    assert Decision.CLOSED is admission.decision
    assert admission.not_before is not None
    assert admission.not_before > datetime.now(UTC) + timedelta(days=5)
    assert admissions._pacing.backlog(SENDER) <= timedelta(days=2)


@pytest.mark.parametrize(
    ("to", "time_zone", "problem"),
    [
        ("+18005550100", None, "several time zones"),
        ("messenger:1234567", None, "needs a time_zone"),
        (RECIPIENT, "Europe/Secret", "time_zone is not an IANA time zone"),
    ],
)
def test_a_window_of_no_use(
    suppressions: Suppressions, to: str, time_zone: str | None, problem: str
) -> None:
    """It is found out at once, also of a suppressed recipient, and said without any value."""
    _suppress(suppressions, recipient=to)
    window = SendWindow(opens="09:00", closes="10:00", time_zone=time_zone)

    admissions = _admissions(suppressions)
    admission = admissions.admit(_request(to=to, send_window=window))

    assert admission.problem == admissions.check_window(WindowCheck(to=to, send_window=window))
    assert (Decision.INVALID_WINDOW, SENDER) == (admission.decision, admission.sender)
    assert admission.problem is not None
    assert problem in admission.problem
    for value in (to, "Secret", "09:00"):
        assert value not in admission.problem


def test_a_window_that_opens_no_more(
    suppressions: Suppressions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where this year's clocks are set so that it stays closed, the message does not wait."""
    monkeypatch.setattr("activities.admit.window_problem", lambda _window, _to: None)
    window = SendWindow(opens="09:00", closes="10:00")

    admission = _admissions(suppressions).admit(_request(to="+18005550100", send_window=window))

    assert Decision.INVALID_WINDOW is admission.decision
    assert admission.problem is not None
    assert admission.problem.startswith("does not open")


def test_a_held_message_looks_again_at_its_senders_pace(suppressions: Suppressions) -> None:
    """While the sender is paused those who ask are told to come again, one after the other."""
    admissions = _admissions(suppressions)
    admissions._pacing.pause(SENDER)
    release = ReleaseRequest(sender=SENDER, segments=10, campaign_id=None)

    waits = []
    for _ in range(3):
        with pytest.raises(ApplicationError) as caught:
            _look(admissions, release)
        assert caught.value.next_retry_delay is not None
        waits.append(round(caught.value.next_retry_delay.total_seconds()))
    admissions._pacing.resume(SENDER)

    assert [5, 10, 20] == waits
    assert Decision.GO is _look(admissions, release).decision


def test_a_held_message_that_does_not_queue(suppressions: Suppressions) -> None:
    """Whatever the backlog, an urgent one looks again soon, and takes no slot while it does."""
    admissions = _admissions(suppressions)
    admissions._pacing.reserve(SENDER, 3600, is_urgent=False)
    admissions._pacing.pause(SENDER)
    release = ReleaseRequest(sender=SENDER, segments=10, campaign_id=None, has_priority=True)

    waits = []
    for number in (1, 2, 100):
        with pytest.raises(ApplicationError) as caught:
            _look(admissions, release, number=number)
        waits.append(caught.value.next_retry_delay)

    assert [timedelta(seconds=each) for each in (5, 10, 60)] == waits
    assert admissions._pacing.backlog(SENDER) <= timedelta(hours=1)


def test_many_held_messages_of_a_fast_sender(suppressions: Suppressions) -> None:
    """They do not look as fast as it sends: after a while once a minute."""
    admissions = _admissions(suppressions)
    admissions._pacing.set_rate(SENDER, 100)
    admissions._pacing.pause(SENDER)
    release = ReleaseRequest(sender=SENDER, segments=1, campaign_id=None)

    for _ in range(20):
        with pytest.raises(ApplicationError) as caught:
            _look(admissions, release, number=30)
        assert timedelta(minutes=1) == caught.value.next_retry_delay


def test_a_slot_given_back(suppressions: Suppressions) -> None:
    """The slot of a message that ended before it came is the next one's."""
    admissions = _admissions(suppressions)
    admissions.admit(_request(segments=100))
    slot = admissions.admit(_request(segments=50)).not_before
    assert slot is not None

    given = GiveBackRequest(sender=SENDER, segments=50, slot=slot, is_urgent=False)
    admissions.give_back(given)

    again = admissions.admit(_request()).not_before
    assert again is not None
    assert abs(again - slot) < timedelta(seconds=0.001), "but for the rounding of the slot"


def test_a_paused_campaign(suppressions: Suppressions) -> None:
    """Its messages look again by the clock, ever later, until it is resumed or canceled."""
    admissions = _admissions(suppressions)
    campaigns = admissions._campaigns
    message = CampaignMessage(sender=SENDER, body="x")
    campaigns.create("spring", message)
    campaigns.finish_loading("spring", rows=0, segments=0)
    release = ReleaseRequest(sender=SENDER, segments=1, campaign_id="spring")

    campaigns.set_state("spring", CampaignState.PAUSED)
    waits = []
    for number in (1, 2, 100):
        with pytest.raises(ApplicationError) as caught:
            _look(admissions, release, number=number)
        waits.append(caught.value.next_retry_delay)
    assert [timedelta(seconds=each) for each in (5, 10, 60)] == waits

    campaigns.set_state("spring", CampaignState.RUNNING)
    assert Decision.GO is _look(admissions, release).decision
    campaigns.set_state("spring", CampaignState.CANCELED)
    assert Decision.CANCELED is _look(admissions, release).decision


def test_database_unreachable(tmp_path: Path) -> None:
    """When consent cannot be read there is no admission, only a failure to try again."""
    engine = open_engine(f"sqlite:///{tmp_path / 'gone' / 'x.db'}")

    with pytest.raises(DatabaseUnavailable) as caught:
        _admissions(Suppressions(engine)).admit(_request())

    engine.dispose()
    assert_silent(caught.value)
