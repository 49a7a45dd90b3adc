"""Notes of POSTs about to be made, and who could be mistaken for whom."""

from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from sqlalchemy import Engine, func, select

from messaging.consent import Reason, Scope, Source, Suppression
from messaging.contract import MessageRequest
from store.posts import Posts, fingerprint
from store.suppressions import Suppressions
from store.tables import posts

SENDER = "+15005550006"
MESSAGE = MessageRequest(to="+15558675309", body="Your parcel is at the door.")
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def _notes(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(posts)).scalar_one()


def test_a_note_is_written_before_a_post(engine: Engine) -> None:
    """`begin` says go, and the note is in the database."""
    assert Posts(engine).begin("m1", MESSAGE, sender=SENDER)
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

    assert Posts(engine).begin("m1", message, sender=SENDER) is goes
    assert _notes(engine) == int(goes)


def test_rivals_are_other_messages_with_the_same_text_at_the_time(engine: Engine) -> None:
    """Same recipient, sender and content since then: those Twilio's list cannot tell apart."""
    minutes = count()
    noted = Posts(engine, now=lambda: NOW + timedelta(minutes=next(minutes)))
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
    noted = Posts(engine, now=lambda: NOW + timedelta(hours=next(hours)))
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
