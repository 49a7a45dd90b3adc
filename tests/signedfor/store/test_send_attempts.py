"""Notes of POSTs about to be made, and who could be mistaken for whom."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from alembic import command
from alembic.config import Config
from signedfor.steps import Decision
from sqlalchemy import Engine, column, func, insert, select, table

from signedfor.consent import Reason, Scope, Source, Suppression
from signedfor.contract import CampaignMessage, CampaignState, MessageRequest
from signedfor.store.campaigns import Campaigns
from signedfor.store.database import open_engine, transaction
from signedfor.store.migrate import _config, upgrade
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.send_attempts import (
    CandidateDuplicate,
    SendAttempts,
    fingerprint,
    template_fingerprint,
    text_fingerprint,
)
from signedfor.store.suppressions import Suppressions
from signedfor.store.tables import UtcDateTime, send_attempts, utc_now
from signedfor.twilio.rates import SenderKind

SENDER = "+15005550006"
MESSAGE = MessageRequest(to="+15558675309", body="Your parcel is at the door.")
OTHER_TEXT = MESSAGE.model_copy(update={"body": "Another text."})
TEMPLATED = MessageRequest(to=MESSAGE.to, content_sid="HX" + "0c" * 16)
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
OLD_POSTS = table(
    "send_attempts", column("message_id"), column("fingerprint"), column("started_at", UtcDateTime)
)
"""As it was before it had the recipient."""


def _posts(engine: Engine, *, now: Callable[[], datetime] = utc_now) -> SendAttempts:
    rates = dict.fromkeys(SenderKind, 100_000.0)
    return SendAttempts(engine, RateLimiter(engine, rates=rates), now=now)


def _notes(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(send_attempts)).scalar_one()


def test_a_note_is_written_before_a_post(engine: Engine) -> None:
    """`begin` says go, and the note is in the database."""
    assert Decision.GO is _posts(engine).begin("m1", MESSAGE, sender=SENDER).decision
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

    decision = _posts(engine).begin("m1", message, sender=SENDER).decision

    assert (Decision.GO if goes else Decision.SUPPRESSED) is decision
    assert _notes(engine) == int(goes)


@pytest.mark.parametrize(
    ("state", "decision"),
    [
        (CampaignState.RUNNING, Decision.GO),
        (CampaignState.PAUSED, Decision.HELD),
        (CampaignState.CANCELED, Decision.CANCELED),
    ],
)
def test_a_campaign_s_state_holds_at_once(
    engine: Engine, state: CampaignState, decision: Decision
) -> None:
    """From the moment a pause or a cancel is written no POST of the campaign begins."""
    campaigns = Campaigns(engine)
    campaigns.begin("spring", CampaignMessage(sender=SENDER, body="x"))
    campaigns.loaded("spring", rows=0, segments=0)
    campaigns.set_state("spring", state)
    message = MESSAGE.model_copy(update={"campaign_id": "spring"})

    assert decision is _posts(engine).begin("m1", message, sender=SENDER).decision
    assert int(decision is Decision.GO) == _notes(engine)
    assert Decision.GO is _posts(engine).begin("m2", MESSAGE, sender=SENDER).decision


def test_what_is_forbidden_uses_nothing_up(engine: Engine) -> None:
    """A message of a paused sender, or a suppressed one, leaves the gate as it was."""
    pacing = RateLimiter(engine)
    pacing.pause(SENDER)

    noted = SendAttempts(engine, pacing)
    verdicts = [noted.begin(f"m{n}", MESSAGE, sender=SENDER).decision for n in range(5)]

    assert [Decision.HELD] * 5 == verdicts
    pacing.resume(SENDER)
    assert Decision.GO is noted.begin("m6", MESSAGE, sender=SENDER).decision
    assert Decision.NOT_YET is noted.begin("m7", MESSAGE, sender=SENDER).decision


def test_rivals_are_other_messages_to_the_recipient_at_the_time(engine: Engine) -> None:
    """Whatever their text or sender: any of them may own a row of Twilio's list."""
    minutes = count()
    noted = _posts(engine, now=lambda: NOW + timedelta(minutes=next(minutes)))
    elsewhere = "+15005550009"
    for message_id, message, sender in [
        ("old", MESSAGE, SENDER),
        ("mine", MESSAGE, SENDER),
        ("twin", MESSAGE, SENDER),
        ("twin", MESSAGE, SENDER),
        ("other", OTHER_TEXT, SENDER),
        ("from elsewhere", MESSAGE, elsewhere),
        ("templated", TEMPLATED, SENDER),
        ("to another", MESSAGE.model_copy(update={"to": "+15558675308"}), SENDER),
    ]:
        noted.begin(message_id, message, sender=sender)

    notes = noted.around("mine", MESSAGE, sender=SENDER, since=NOW + timedelta(seconds=30))

    assert [
        CandidateDuplicate(
            message_id="from elsewhere", fingerprint=fingerprint(MESSAGE, sender=elsewhere)
        ),
        CandidateDuplicate(message_id="other", fingerprint=fingerprint(OTHER_TEXT, sender=SENDER)),
        CandidateDuplicate(
            message_id="templated", fingerprint=fingerprint(TEMPLATED, sender=SENDER)
        ),
        CandidateDuplicate(message_id="twin", fingerprint=fingerprint(MESSAGE, sender=SENDER)),
    ] == notes.candidates


def test_a_message_s_own_notes_say_since_when(engine: Engine) -> None:
    """The first of its POSTs since then; none if it was never noted, or that is forgotten."""
    hours = count()
    noted = _posts(engine, now=lambda: NOW + timedelta(hours=next(hours)))
    for _ in range(3):
        noted.begin("mine", MESSAGE, sender=SENDER)

    def own_since(message_id: str, since: datetime) -> datetime | None:
        return noted.around(message_id, MESSAGE, sender=SENDER, since=since).own_since

    second = NOW + timedelta(hours=1)
    assert [NOW, second, None] == [
        own_since("mine", NOW),
        own_since("mine", NOW + timedelta(minutes=1)),
        own_since("another", NOW),
    ]
    noted.forget(before=second)
    assert second == own_since("mine", NOW)


def test_whether_any_post_was_begun(engine: Engine) -> None:
    """Of this message, at whatever time, with or without its recipient in the note."""
    long_ago = _posts(engine, now=lambda: NOW - timedelta(days=1))
    long_ago.begin("m1", MESSAGE, sender=SENDER)
    with transaction(engine) as connection:
        old = {"message_id": "m2", "fingerprint": "x", "started_at": NOW}
        connection.execute(insert(OLD_POSTS).values(old))

    begun = [_posts(engine).has_begun(each, MESSAGE) for each in ("m1", "m2", "m3")]

    assert [True, True, False] == begun


def test_notes_of_an_older_version_are_rivals_if_they_look_alike(empty_database_url: str) -> None:
    """An upgrade keeps them, without their recipient; the same text is a rival all the same."""
    engine = open_engine(empty_database_url)
    try:
        _migrate(engine, command.upgrade, "0005")
        with transaction(engine) as connection:
            for message_id, message in [("twin", MESSAGE), ("other", OTHER_TEXT)]:
                mark = fingerprint(message, sender=SENDER)
                connection.execute(insert(OLD_POSTS).values((message_id, mark, NOW)))

        assert upgrade(empty_database_url)
        notes = _posts(engine).around("mine", MESSAGE, sender=SENDER, since=NOW)
        assert 2 == _notes(engine)
        assert ["twin"] == [each.message_id for each in notes.candidates]

        _migrate(engine, command.downgrade, "0005")
        assert 2 == _notes(engine)
    finally:
        engine.dispose()


def _migrate(engine: Engine, step: Callable[[Config, str], None], to: str) -> None:
    """Bring the tables up, or back, to a revision."""
    config = _config()
    with transaction(engine) as connection:
        config.attributes["connection"] = connection
        step(config, to)


def test_old_notes_are_forgotten(engine: Engine) -> None:
    """`forget` drops what is older, and nothing else."""
    hours = count()
    noted = _posts(engine, now=lambda: NOW + timedelta(hours=next(hours)))
    for message_id in ("a", "b", "c"):
        noted.begin(message_id, MESSAGE, sender=SENDER)

    assert noted.forget(before=NOW + timedelta(hours=2)) == 2
    assert _notes(engine) == 1


def test_a_note_holds_no_number(engine: Engine) -> None:
    """It is made of hashes: the same for the same content, another for any difference."""
    _posts(engine).begin("m1", MESSAGE, sender=SENDER)
    with engine.connect() as connection:
        note = connection.execute(select(send_attempts)).one()
    changes: tuple[dict[str, object], ...] = (
        {"body": "x"},
        {"to": "+15558675308"},
        {"media_urls": ("https://e.com/a",)},
    )
    marks = {fingerprint(MESSAGE.model_copy(update=each), sender=SENDER) for each in changes}

    assert note.fingerprint == fingerprint(MESSAGE, sender=SENDER)
    assert len(marks | {note.fingerprint}) == 4
    assert "8675309" not in str(note)


def test_a_row_of_the_list_has_the_fingerprint_of_its_message() -> None:
    """Made of what Twilio shows: the text and the number of media; of a template, neither."""
    body, url = MESSAGE.body or "", "https://e.com/a"
    pictured = MESSAGE.model_copy(update={"media_urls": (url,)})

    assert fingerprint(MESSAGE, sender=SENDER) == text_fingerprint(MESSAGE.to, SENDER, body, 0)
    assert fingerprint(pictured, sender=SENDER) == text_fingerprint(MESSAGE.to, SENDER, body, 1)
    assert fingerprint(TEMPLATED, sender=SENDER) == template_fingerprint(MESSAGE.to, SENDER)
