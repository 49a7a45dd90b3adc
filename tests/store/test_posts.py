"""Notes of POSTs about to be made, and who could be mistaken for whom."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from sqlalchemy import Engine, func, select

from messaging.consent import Reason, Scope, Source, Suppression
from messaging.contract import CampaignMessage, CampaignState, MessageRequest
from messaging.rates import SenderKind
from messaging.steps import Verdict
from store.campaigns import Campaigns
from store.pacing import Pacing
from store.posts import Posts, fingerprint
from store.suppressions import Suppressions
from store.tables import posts, utc_now

SENDER = "+15005550006"
MESSAGE = MessageRequest(to="+15558675309", body="Your parcel is at the door.")
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def _posts(engine: Engine, *, now: Callable[[], datetime] = utc_now) -> Posts:
    rates = dict.fromkeys(SenderKind, 100_000.0)
    return Posts(engine, Pacing(engine, rates=rates), now=now)


def _notes(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(posts)).scalar_one()


def test_a_note_is_written_before_a_post(engine: Engine) -> None:
    """`begin` says go, and the note is in the database."""
    assert Verdict.GO is _posts(engine).begin("m1", MESSAGE, sender=SENDER).verdict
    assert _notes(engine) == 1


@pytest.mark.parametrize(
    ("scope", "value", "goes"),
    [
        (Scope.EVERYTHING, "", False),
        (Scope.SENDER, SENDER, False),
        (Scope.SENDER, "+15005550009", True),
        (Scope.CATEGORY, "marketing", False),
        (Scope.CATEGORY, "news", True),
    ],
)
def test_a_suppressed_message_leaves_no_note(
    engine: Engine, scope: Scope, value: str, goes: bool
) -> None:
    """Consent and note are one statement: what is suppressed is not noted, and not to be sent."""
    Suppressions(engine).record(
        Suppression(
            recipient=MESSAGE.to,
            reason=Reason.OPTED_OUT,
            source=Source.INBOUND,
            scope=scope,
            scope_value=value,
        ),
        who="test",
    )
    message = MESSAGE.model_copy(update={"category": "marketing"})

    verdict = _posts(engine).begin("m1", message, sender=SENDER).verdict

    assert (Verdict.GO if goes else Verdict.SUPPRESSED) is verdict
    assert _notes(engine) == int(goes)


@pytest.mark.parametrize(
    ("state", "verdict"),
    [
        (CampaignState.RUNNING, Verdict.GO),
        (CampaignState.PAUSED, Verdict.HELD),
        (CampaignState.CANCELED, Verdict.CANCELED),
    ],
)
def test_a_campaign_s_state_holds_at_once(
    engine: Engine, state: CampaignState, verdict: Verdict
) -> None:
    """From the moment a pause or a cancel is written no POST of the campaign begins."""
    campaigns = Campaigns(engine)
    campaigns.begin("spring", CampaignMessage(sender=SENDER, body="x"))
    campaigns.loaded("spring", rows=0, segments=0)
    campaigns.set_state("spring", state)
    message = MESSAGE.model_copy(update={"campaign_id": "spring"})

    assert verdict is _posts(engine).begin("m1", message, sender=SENDER).verdict
    assert int(verdict is Verdict.GO) == _notes(engine)
    assert Verdict.GO is _posts(engine).begin("m2", MESSAGE, sender=SENDER).verdict


def test_what_is_forbidden_uses_nothing_up(engine: Engine) -> None:
    """A message of a paused sender, or a suppressed one, leaves the gate as it was."""
    pacing = Pacing(engine)
    pacing.pause(SENDER)

    noted = Posts(engine, pacing)
    verdicts = [noted.begin(f"m{n}", MESSAGE, sender=SENDER).verdict for n in range(5)]

    assert [Verdict.HELD] * 5 == verdicts
    pacing.resume(SENDER)
    assert Verdict.GO is noted.begin("m6", MESSAGE, sender=SENDER).verdict
    assert Verdict.NOT_YET is noted.begin("m7", MESSAGE, sender=SENDER).verdict


def test_rivals_are_other_messages_with_the_same_text_at_the_time(engine: Engine) -> None:
    """Same recipient, sender and content since then: those Twilio's list cannot tell apart."""
    minutes = count()
    noted = _posts(engine, now=lambda: NOW + timedelta(minutes=next(minutes)))
    other = MESSAGE.model_copy(update={"body": "Another text."})
    for message_id, message in [
        ("old", MESSAGE),
        ("mine", MESSAGE),
        ("twin", MESSAGE),
        ("twin", MESSAGE),
        ("other", other),
    ]:
        noted.begin(message_id, message, sender=SENDER)
    noted.begin("elsewhere", MESSAGE, sender="+15005550009")

    mark = fingerprint(MESSAGE, sender=SENDER)
    assert noted.rivals("mine", mark, since=NOW + timedelta(seconds=30)) == ["twin"]


def test_old_notes_are_forgotten(engine: Engine) -> None:
    """`forget` drops what is older, and nothing else."""
    hours = count()
    noted = _posts(engine, now=lambda: NOW + timedelta(hours=next(hours)))
    for message_id in ("a", "b", "c"):
        noted.begin(message_id, MESSAGE, sender=SENDER)

    assert noted.forget(before=NOW + timedelta(hours=2)) == 2
    assert _notes(engine) == 1


def test_a_fingerprint_holds_no_number() -> None:
    """It is a hash: the same for the same content, another for any difference."""
    mark = fingerprint(MESSAGE, sender=SENDER)
    changes: tuple[dict[str, object], ...] = (
        {"body": "x"},
        {"to": "+15558675308"},
        {"media_urls": ("https://e.com/a",)},
    )
    marks = {fingerprint(MESSAGE.model_copy(update=each), sender=SENDER) for each in changes}

    assert mark == fingerprint(MESSAGE, sender=SENDER)
    assert len(marks | {mark}) == 4
    assert "8675309" not in mark
