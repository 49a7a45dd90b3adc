"""Attempt records, and the messages that could be mistaken for one another."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from sqlalchemy import Engine, func, select

from signedfor.consent import Reason, Scope, Source, Suppression
from signedfor.contract import CampaignMessage, CampaignState, MessageRequest
from signedfor.store.campaigns import Campaigns
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.send_attempts import (
    Blocked,
    CandidateDuplicate,
    Claimed,
    NotBefore,
    SendAttempts,
    fingerprint,
    template_fingerprint,
    text_fingerprint,
)
from signedfor.store.suppressions import Suppressions
from signedfor.store.tables import send_attempts, utc_now
from signedfor.twilio.rates import SenderKind

SENDER = "+15005550006"
MESSAGE = MessageRequest(to="+15558675309", body="Your parcel is at the door.")
OTHER_TEXT = MESSAGE.model_copy(update={"body": "Another text."})
TEMPLATED = MessageRequest(to=MESSAGE.to, content_sid="HX" + "0c" * 16)
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def _attempts(engine: Engine, *, now: Callable[[], datetime] = utc_now) -> SendAttempts:
    rates = dict.fromkeys(SenderKind, 100_000.0)
    return SendAttempts(engine, RateLimiter(engine, rates=rates), now=now)


def _count(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(send_attempts)).scalar_one()


def test_a_record_is_written_before_a_post(engine: Engine) -> None:
    """Claiming an attempt writes its record."""
    assert Claimed() == _attempts(engine).claim("m1", MESSAGE, sender=SENDER)
    assert _count(engine) == 1


@pytest.mark.parametrize(
    ("scope", "value", "claimed"),
    [
        (Scope.EVERYTHING, "", False),
        (Scope.SENDER, SENDER, False),
        (Scope.SENDER, "+15005550009", True),
        (Scope.CATEGORY, "marketing", False),
        (Scope.CATEGORY, "news", True),
    ],
)
def test_a_suppressed_message_leaves_no_record(
    engine: Engine, scope: Scope, value: str, claimed: bool
) -> None:
    """Checking opt-outs and writing the record are one statement."""
    Suppressions(engine).record(
        Suppression(
            recipient=MESSAGE.to,
            reason=Reason.OPTED_OUT,
            source=Source.INBOUND,
            scope=scope,
            scope_value=value,
        ),
        by="test",
    )
    message = MESSAGE.model_copy(update={"category": "marketing"})

    claim = _attempts(engine).claim("m1", message, sender=SENDER)

    assert (Claimed() if claimed else Blocked.SUPPRESSED) == claim
    assert _count(engine) == int(claimed)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (CampaignState.RUNNING, Claimed()),
        (CampaignState.PAUSED, Blocked.PAUSED),
        (CampaignState.CANCELED, Blocked.CAMPAIGN_CANCELED),
    ],
)
def test_a_campaigns_state_applies_at_once(
    engine: Engine, state: CampaignState, expected: Claimed | Blocked
) -> None:
    """Once a pause or cancellation is written, no POST of the campaign starts."""
    campaigns = Campaigns(engine)
    campaigns.create("spring", CampaignMessage(sender=SENDER, body="x"))
    campaigns.finish_loading("spring", rows=0, segments=0)
    campaigns.set_state("spring", state)
    message = MESSAGE.model_copy(update={"campaign_id": "spring"})

    assert expected == _attempts(engine).claim("m1", message, sender=SENDER)
    assert int(expected == Claimed()) == _count(engine)
    assert Claimed() == _attempts(engine).claim("m2", MESSAGE, sender=SENDER)


def test_a_blocked_message_does_not_use_up_the_rate(engine: Engine) -> None:
    """A message of a paused sender does not change the rate limiter's state."""
    limiter = RateLimiter(engine)
    limiter.pause(SENDER)

    attempts = SendAttempts(engine, limiter)
    claims = [attempts.claim(f"m{n}", MESSAGE, sender=SENDER) for n in range(5)]

    assert [Blocked.PAUSED] * 5 == claims
    limiter.resume(SENDER)
    assert Claimed() == attempts.claim("m6", MESSAGE, sender=SENDER)
    assert isinstance(attempts.claim("m7", MESSAGE, sender=SENDER), NotBefore)


def test_candidates_are_other_messages_to_the_recipient_at_the_time(engine: Engine) -> None:
    """Any of them may own a message in Twilio's list, whatever its text or sender."""
    minutes = count()
    attempts = _attempts(engine, now=lambda: NOW + timedelta(minutes=next(minutes)))
    other_sender = "+15005550009"
    for message_id, message, sender in [
        ("old", MESSAGE, SENDER),
        ("mine", MESSAGE, SENDER),
        ("the same", MESSAGE, SENDER),
        ("the same", MESSAGE, SENDER),
        ("other", OTHER_TEXT, SENDER),
        ("from another sender", MESSAGE, other_sender),
        ("templated", TEMPLATED, SENDER),
        ("to another", MESSAGE.model_copy(update={"to": "+15558675308"}), SENDER),
    ]:
        attempts.claim(message_id, message, sender=sender)

    records = attempts.around("mine", MESSAGE, since=NOW + timedelta(seconds=30))

    assert [
        CandidateDuplicate(
            message_id="from another sender", fingerprint=fingerprint(MESSAGE, sender=other_sender)
        ),
        CandidateDuplicate(message_id="other", fingerprint=fingerprint(OTHER_TEXT, sender=SENDER)),
        CandidateDuplicate(
            message_id="templated", fingerprint=fingerprint(TEMPLATED, sender=SENDER)
        ),
        CandidateDuplicate(message_id="the same", fingerprint=fingerprint(MESSAGE, sender=SENDER)),
    ] == records.candidates


def test_the_time_of_a_messages_own_first_post(engine: Engine) -> None:
    """It is the first since the given time, and None without a record."""
    hours = count()
    attempts = _attempts(engine, now=lambda: NOW + timedelta(hours=next(hours)))
    for _ in range(3):
        attempts.claim("mine", MESSAGE, sender=SENDER)

    def own_since(message_id: str, since: datetime) -> datetime | None:
        return attempts.around(message_id, MESSAGE, since=since).own_since

    second = NOW + timedelta(hours=1)
    assert [NOW, second, None] == [
        own_since("mine", NOW),
        own_since("mine", NOW + timedelta(minutes=1)),
        own_since("another", NOW),
    ]
    attempts.purge(before=second)
    assert second == own_since("mine", NOW)


def test_has_any_tells_whether_a_post_was_made(engine: Engine) -> None:
    """It may have been made at any time."""
    yesterday = _attempts(engine, now=lambda: NOW - timedelta(days=1))
    yesterday.claim("m1", MESSAGE, sender=SENDER)

    has_any = [_attempts(engine).has_any(each, MESSAGE) for each in ("m1", "m2")]

    assert [True, False] == has_any


def test_old_records_are_purged(engine: Engine) -> None:
    """Only records before the given time are deleted."""
    hours = count()
    attempts = _attempts(engine, now=lambda: NOW + timedelta(hours=next(hours)))
    for message_id in ("a", "b", "c"):
        attempts.claim(message_id, MESSAGE, sender=SENDER)

    assert attempts.purge(before=NOW + timedelta(hours=2)) == 2
    assert _count(engine) == 1


def test_a_record_contains_no_number(engine: Engine) -> None:
    """It contains hashes, which differ if the content differs."""
    _attempts(engine).claim("m1", MESSAGE, sender=SENDER)
    with engine.connect() as connection:
        record = connection.execute(select(send_attempts)).one()
    changes: tuple[dict[str, object], ...] = (
        {"body": "x"},
        {"to": "+15558675308"},
        {"media_urls": ("https://e.com/a",)},
    )
    fingerprints = {fingerprint(MESSAGE.model_copy(update=each), sender=SENDER) for each in changes}

    assert record.fingerprint == fingerprint(MESSAGE, sender=SENDER)
    assert len(fingerprints | {record.fingerprint}) == 4
    assert "8675309" not in str(record)


def test_a_listed_message_has_the_fingerprint_of_its_request() -> None:
    """It is made of what Twilio lists: the text and number of media, or neither for a template."""
    body, url = MESSAGE.body or "", "https://e.com/a"
    with_media = MESSAGE.model_copy(update={"media_urls": (url,)})

    assert fingerprint(MESSAGE, sender=SENDER) == text_fingerprint(MESSAGE.to, SENDER, body, 0)
    assert fingerprint(with_media, sender=SENDER) == text_fingerprint(MESSAGE.to, SENDER, body, 1)
    assert fingerprint(TEMPLATED, sender=SENDER) == template_fingerprint(MESSAGE.to, SENDER)
