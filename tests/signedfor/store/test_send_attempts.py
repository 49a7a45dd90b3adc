"""Attempt records, and the messages that could be mistaken for one another."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from sqlalchemy import Engine, Table, func, select

from signedfor.consent import Reason, Scope, Source, Suppression
from signedfor.contract import CampaignMessage, CampaignState, MessageRequest, Priority
from signedfor.store.campaigns import Campaigns
from signedfor.store.claim_statements import Blocked
from signedfor.store.fingerprints import fingerprint, template_fingerprint, text_fingerprint
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.send_attempts import (
    CandidateDuplicate,
    Claimed,
    ClaimHeld,
    NotBefore,
    NotClaimed,
    SendAttempts,
)
from signedfor.store.suppression_checks import applying_to
from signedfor.store.suppressions import Suppressions
from signedfor.store.tables import send_attempts, senders, utc_now
from signedfor.twilio.rates import SenderKind
from tests.signedfor.store.observation import observed
from tests.signedfor.store.rate_limiter_simulation import Clock

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


def _rows(engine: Engine, table: Table) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [
            tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))
        ]


def test_a_claim_writes_the_attempt_record(engine: Engine) -> None:
    """The record is in the database before the POST can start."""
    assert Claimed() == _attempts(engine).claim("m1", MESSAGE, sender=SENDER)
    assert _count(engine) == 1


@pytest.mark.parametrize(
    ("reason", "source", "expires", "expected"),
    [
        (Reason.UNDELIVERABLE, Source.TWILIO_CODE, True, True),
        (Reason.UNDELIVERABLE, Source.TWILIO_CODE, False, False),
        (Reason.UNDELIVERABLE, Source.OPERATOR, True, False),
        (Reason.OPTED_OUT, Source.TWILIO_CODE, True, False),
    ],
)
def test_a_claim_says_that_the_recipient_was_unreachable(
    engine: Engine, reason: Reason, source: Source, *, expires: bool, expected: bool
) -> None:
    """For another sender, by one of Twilio's codes: a delivery would disprove it."""
    suppression = Suppression(
        recipient=MESSAGE.to,
        reason=reason,
        source=source,
        scope=Scope.SENDER,
        scope_value="72345",
        expires_at=datetime.now(UTC) + timedelta(days=9) if expires else None,
    )
    Suppressions(engine).record(suppression, by="test")

    claim = _attempts(engine).claim("m1", MESSAGE, sender=SENDER)

    assert Claimed(was_unreachable=expected) == claim


def test_a_submission_is_claimed_once(engine: Engine) -> None:
    """A second attempt learns when the submission was claimed; another submission is free."""
    minutes = count()
    attempts = _attempts(engine, now=lambda: NOW + timedelta(minutes=next(minutes)))

    claims = [
        attempts.claim("m1", MESSAGE, sender=SENDER),
        attempts.claim("m1", MESSAGE, sender=SENDER),
        attempts.claim("m1", MESSAGE, sender=SENDER, submission=2),
        attempts.claim("m2", MESSAGE, sender=SENDER),
    ]

    assert [Claimed(), ClaimHeld(NOW), Claimed(), Claimed()] == claims
    assert [ClaimHeld(NOW, 2), None] == [attempts.holder("m1", 1), attempts.holder("m1", 3)]


def test_a_refused_submission_can_be_claimed_again(engine: Engine) -> None:
    """Twilio does not have it, so the next attempt may make its POST; each claim is counted."""
    minutes = count()
    attempts = _attempts(engine, now=lambda: NOW + timedelta(minutes=next(minutes)))
    attempts.claim("m1", MESSAGE, sender=SENDER)
    attempts.refuse("m1", 1, 1)

    holder = attempts.holder("m1", 1)

    assert holder is None
    assert Claimed(2) == attempts.claim("m1", MESSAGE, sender=SENDER)
    assert ClaimHeld(NOW + timedelta(minutes=1), 2) == attempts.holder("m1", 1)
    assert 1 == _count(engine)


def test_whether_twilio_may_have_a_submission_or_a_later_one(engine: Engine) -> None:
    """And since when. An earlier submission, of known outcome, and a refused one do not count."""
    minutes = count()
    attempts = _attempts(engine, now=lambda: NOW + timedelta(minutes=next(minutes)))
    for submission in (1, 2):
        attempts.claim("m1", MESSAGE, sender=SENDER, submission=submission)
    attempts.refuse("m1", 2, 1)

    assert NOW == attempts.claimed_since("m1", first_submission=1)
    assert attempts.claimed_since("m1", first_submission=2) is None
    assert attempts.claimed_since("m2", first_submission=1) is None


def test_a_late_refusal_does_not_release_a_newer_claim(engine: Engine) -> None:
    """A worker that repeats its record of a refusal must not free the claim of the next attempt."""
    attempts = _attempts(engine)
    attempts.claim("m1", MESSAGE, sender=SENDER)
    attempts.refuse("m1", 1, 1)
    attempts.claim("m1", MESSAGE, sender=SENDER)

    attempts.refuse("m1", 1, 1)

    assert isinstance(attempts.claim("m1", MESSAGE, sender=SENDER), ClaimHeld)


def test_a_claimed_submission_excludes_an_earlier_one(engine: Engine) -> None:
    """A frozen worker marks its submission as refused when another has sent the message again.

    A workflow that is reset to before that then starts with the earlier submission.
    """
    attempts = _attempts(engine)
    assert Claimed(1) == attempts.claim("m1", MESSAGE, sender=SENDER)
    assert Claimed(1) == attempts.claim("m1", MESSAGE, sender=SENDER, submission=2)
    attempts.refuse("m1", 1, 1)

    assert isinstance(attempts.claim("m1", MESSAGE, sender=SENDER), ClaimHeld)
    assert attempts.holder("m1", 1) is not None
    attempts.refuse("m1", 2, 1)
    assert attempts.holder("m1", 1) is None
    assert Claimed(2) == attempts.claim("m1", MESSAGE, sender=SENDER)


def test_a_held_claim_comes_before_everything_that_blocks(engine: Engine) -> None:
    """Twilio may have the message: its outcome is resolved even if the recipient has opted out."""
    limiter = RateLimiter(engine, rates=dict.fromkeys(SenderKind, 100_000.0))
    attempts = SendAttempts(engine, limiter, now=lambda: NOW)
    attempts.claim("m1", MESSAGE, sender=SENDER)
    Suppressions(engine).record(
        Suppression(recipient=MESSAGE.to, reason=Reason.OPTED_OUT, source=Source.INBOUND),
        by="test",
    )
    limiter.pause(SENDER)

    assert ClaimHeld(NOW) == attempts.claim("m1", MESSAGE, sender=SENDER)


def test_of_many_attempts_at_once_one_claims(engine: Engine) -> None:
    """Threads that claim the same submission at the same time: exactly one may make its POST."""
    attempts = _attempts(engine)
    start = threading.Barrier(8)

    def claim(_: int) -> Claimed | NotClaimed:
        start.wait(10)
        return attempts.claim("m1", MESSAGE, sender=SENDER)

    with ThreadPoolExecutor(8) as threads:
        claims = list(threads.map(claim, range(8)))

    assert [Claimed()] == [each for each in claims if not isinstance(each, ClaimHeld)]


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


@pytest.mark.parametrize("is_reserved", [False, True])
def test_a_claimed_submission_of_a_busy_sender(engine: Engine, is_reserved: bool) -> None:
    """It is not told to wait, and no time is reserved for it: Twilio may have it."""
    clock = Clock()
    limiter = RateLimiter(engine, rates={SenderKind.LONG_CODE: 1}, account_rate=1, now=clock)
    attempts = SendAttempts(engine, limiter, now=lambda: NOW)
    attempts.claim("m1", MESSAGE, sender=SENDER)
    limiter.reserve(SENDER, 10, is_urgent=False)
    before = _rows(engine, senders)

    claim = attempts.claim("m1", MESSAGE, sender=SENDER, is_reserved=is_reserved)

    assert ClaimHeld(NOW) == claim
    assert before == _rows(engine, senders)


def test_no_column_of_the_record_has_the_name_of_a_parameter_of_the_checks() -> None:
    """Both are parameters of the one statement; only the sender is the same in both."""
    parameters = applying_to(
        MESSAGE.to, sender=SENDER, category=None, now=NOW, pseudonym=lambda address: address
    )

    assert {"sender"} == parameters.keys() & send_attempts.columns.keys()


@pytest.mark.parametrize("address", [MESSAGE.to, f"whatsapp:{MESSAGE.to}", f"rcs:{MESSAGE.to}"])
def test_no_submission_to_a_suppressed_person_is_claimed(engine: Engine, address: str) -> None:
    """On any channel: the claim's own statement knows whom an address reaches."""
    attempts = SendAttempts(engine, RateLimiter(engine))
    Suppressions(engine).record(
        Suppression(
            recipient=MESSAGE.to, reason=Reason.OPTED_OUT, source=Source.OPERATOR, evidence="-"
        ),
        by="ops",
    )

    claim = attempts.claim("m1", MESSAGE.model_copy(update={"to": address}), sender=SENDER)

    assert Blocked.SUPPRESSED is claim


@pytest.mark.parametrize("account_rate", [None, 1.0])
@pytest.mark.parametrize("is_reserved", [False, True])
@pytest.mark.parametrize("priority", [Priority.NORMAL, Priority.URGENT])
def test_a_claim_is_one_transaction_of_few_statements(
    engine: Engine, is_reserved: bool, account_rate: float | None, priority: Priority
) -> None:
    """One for the rate limiter and one for the record, and one if the account has a limit."""
    clock = Clock()
    attempts = SendAttempts(engine, RateLimiter(engine, account_rate=account_rate, now=clock))
    message = MESSAGE.model_copy(update={"priority": priority})
    attempts.claim("before", MESSAGE, sender="+15005550007")  # reads the key of references
    clock.seconds += 10
    for message_id in ("first", "later"):
        work = observed(engine)

        claim = attempts.claim(message_id, message, sender=SENDER, is_reserved=is_reserved)

        assert Claimed() == claim
        assert ["commit"] == work.ends
        assert 2 + int(account_rate is not None) == len(work.statements)
        clock.seconds += 10


def test_candidates_are_other_messages_to_the_recipient_at_the_time(engine: Engine) -> None:
    """Any of them may own a message in Twilio's list, whatever its text or sender."""
    minutes = count()
    attempts = _attempts(engine, now=lambda: NOW + timedelta(minutes=next(minutes)))
    other_sender = "+15005550009"
    for message_id, submission, message, sender in [
        ("old", 1, MESSAGE, SENDER),
        ("mine", 1, MESSAGE, SENDER),
        ("the same", 1, MESSAGE, SENDER),
        ("the same", 2, MESSAGE, SENDER),
        ("other", 1, OTHER_TEXT, SENDER),
        ("from another sender", 1, MESSAGE, other_sender),
        ("templated", 1, TEMPLATED, SENDER),
        ("to another", 1, MESSAGE.model_copy(update={"to": "+15558675308"}), SENDER),
    ]:
        attempts.claim(message_id, message, sender=sender, submission=submission)

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
    for submission in (1, 2, 3):
        attempts.claim("mine", MESSAGE, sender=SENDER, submission=submission)

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
