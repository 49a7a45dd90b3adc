"""Attempt records that were lost, and written again without knowing their submission."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select

from signedfor.contract import MessageRequest
from signedfor.message_limits import limits_of, parse_rules
from signedfor.store.duplicates import DuplicateOf, content_hash
from signedfor.store.erasure import Erasure
from signedfor.store.fingerprints import fingerprint, recipient_hash
from signedfor.store.limit_usage import LimitUsed
from signedfor.store.people import People
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.restored_attempts import RestoredAttempt, RestoredAttempts
from signedfor.store.send_attempts import Claimed, ClaimHeld, SendAttempts
from signedfor.store.tables import UNNUMBERED, limit_usage, send_attempts, utc_now
from signedfor.twilio.rates import SenderKind

SENDER = "+15005550006"
MESSAGE = MessageRequest(to="+15558675309", body="Your parcel is at the door.")
BEGAN = datetime(2026, 11, 21, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def _attempts(engine: Engine, rules: str | None = None, **options: Any) -> SendAttempts:
    rates = dict.fromkeys(SenderKind, 100_000.0)
    limits = parse_rules(rules) if rules else ()
    return SendAttempts(engine, RateLimiter(engine, rates=rates), limits=limits, **options)


def _restored(
    submission: int,
    message_id: str = "m1",
    *,
    began: datetime = BEGAN,
    engine: Engine | None = None,
    rules: str = "person=1/24h",
    counted_at: datetime | None = None,
) -> RestoredAttempt:
    """With an engine, as the claim of `MESSAGE` would have written it."""
    reference = "0" * 32 if engine is None else People(engine).reference(MESSAGE.to)
    return RestoredAttempt(
        message_id=message_id,
        submission=submission,
        started_at=began,
        fingerprint=fingerprint(MESSAGE, sender=SENDER),
        recipient_hash=recipient_hash(MESSAGE.to),
        sender=SENDER,
        person_reference=reference,
        content_hash=content_hash(MESSAGE, person_reference=reference),
        limits=tuple(limits_of(MESSAGE, parse_rules(rules), person_reference=reference)),
        counted_at=counted_at or began,
    )


def _submissions(engine: Engine) -> list[tuple[int, int, bool]]:
    column = send_attempts.c
    with engine.connect() as connection:
        rows = connection.execute(
            select(column.submission, column.attempt, column.is_refused).order_by(column.submission)
        )
        return [tuple(row) for row in rows]


@pytest.mark.parametrize("submission", [1, 3])
def test_without_a_number_it_holds_the_next_submission_only(
    engine: Engine, submission: int
) -> None:
    """Whichever that is; the one after it is free, as after every unknown outcome."""
    RestoredAttempts(engine).add([_restored(UNNUMBERED)])
    attempts = _attempts(engine)

    held = attempts.claim("m1", MESSAGE, sender=SENDER, submission=submission)
    again = attempts.claim("m1", MESSAGE, sender=SENDER, submission=submission)
    following = attempts.claim("m1", MESSAGE, sender=SENDER, submission=submission + 1)

    assert ClaimHeld(BEGAN) == held == again
    assert Claimed() == following
    assert [(submission, 1, False), (submission + 1, 1, False)] == _submissions(engine)


def test_it_holds_before_a_wait_too(engine: Engine) -> None:
    """A message that must wait for its sender may expire meanwhile: it is resolved first."""
    attempts = SendAttempts(engine, RateLimiter(engine, rates=dict.fromkeys(SenderKind, 0.001)))
    RestoredAttempts(engine).add([_restored(UNNUMBERED)])
    attempts.claim("m2", MESSAGE, sender=SENDER)  # the sender is busy now

    assert ClaimHeld(BEGAN) == attempts.claim("m1", MESSAGE, sender=SENDER)


def test_it_holds_a_submission_that_was_refused(engine: Engine) -> None:
    """The last attempt before the loss may have been another one."""
    attempts = _attempts(engine)
    attempts.claim("m1", MESSAGE, sender=SENDER)
    attempts.refuse("m1", 1, 1)
    RestoredAttempts(engine).add([_restored(UNNUMBERED)])

    for _ in range(2):
        held = attempts.claim("m1", MESSAGE, sender=SENDER)
        assert ClaimHeld(BEGAN, attempts=2) == held
    assert [(1, 2, False)] == _submissions(engine)


def test_a_message_that_ends_without_an_attempt_finds_it(engine: Engine) -> None:
    """It expires, or is canceled: that Twilio may have it is known all the same."""
    RestoredAttempts(engine).add([_restored(UNNUMBERED)])
    attempts = _attempts(engine)

    assert BEGAN == attempts.claimed_since("m1", first_submission=2)
    assert ClaimHeld(BEGAN) == attempts.holder("m1", 2)
    assert [(2, 1, False)] == _submissions(engine)


def test_it_shows_which_messages_may_be_mistaken_for_another(engine: Engine) -> None:
    """The search for another message with the same text asks this one, too."""
    RestoredAttempts(engine).add([_restored(UNNUMBERED)])

    records = _attempts(engine).around("m2", MESSAGE, since=BEGAN - timedelta(minutes=1))

    assert ["m1"] == [each.message_id for each in records.candidates]


@pytest.mark.parametrize("submission", [1, UNNUMBERED])
def test_the_duplicate_guard_sees_it(engine: Engine, submission: int) -> None:
    """Also once it has the number of the next submission; of the message itself it is none."""
    began = utc_now()
    RestoredAttempts(engine).add([_restored(submission, began=began, engine=engine)])
    attempts = _attempts(engine, duplicate_window=10 * MINUTE)

    other = attempts.claim("m2", MESSAGE, sender=SENDER)
    itself = attempts.claim("m1", MESSAGE, sender=SENDER)
    another = attempts.claim("m3", MESSAGE, sender=SENDER)

    assert DuplicateOf("m1", began) == other == another
    assert ClaimHeld(began) == itself


def test_the_duplicate_guard_sees_one_that_was_refused_before(engine: Engine) -> None:
    """Then the guard may have been off, and the record had nothing for it."""
    attempts, began = _attempts(engine), utc_now()
    attempts.claim("m1", MESSAGE, sender=SENDER)
    attempts.refuse("m1", 1, 1)
    RestoredAttempts(engine).add([_restored(1, began=began, engine=engine)])

    guarded = _attempts(engine, duplicate_window=10 * MINUTE)

    assert DuplicateOf("m1", began) == guarded.claim("m2", MESSAGE, sender=SENDER)


@pytest.mark.parametrize("submissions", [(1,), (UNNUMBERED,), (1, 2), (1, UNNUMBERED)])
def test_the_limits_count_its_message_once(engine: Engine, submissions: tuple[int, ...]) -> None:
    """However many of its submissions were lost, and however often that is repeated."""
    rules = "person=2/24h"
    found = [_restored(each, began=utc_now(), engine=engine, rules=rules) for each in submissions]
    restored, attempts = RestoredAttempts(engine), _attempts(engine, rules)
    for _ in range(2):
        restored.add(restored.missing(found))

    second = attempts.claim("m2", MESSAGE, sender=SENDER)
    third = attempts.claim("m3", MESSAGE, sender=SENDER)

    assert Claimed() == second
    assert isinstance(third, LimitUsed)


def test_a_message_with_a_record_was_counted_before(engine: Engine) -> None:
    """With its first claim, and the database has kept both."""
    attempts = _attempts(engine, "person=2/24h")
    attempts.claim("m1", MESSAGE, sender=SENDER)
    RestoredAttempts(engine).add([_restored(2, began=utc_now(), engine=engine)])

    assert Claimed() == attempts.claim("m2", MESSAGE, sender=SENDER)


def test_a_limit_counts_what_was_sent_beyond_it(engine: Engine) -> None:
    """It is never refused: it happened."""
    rules, began = "person=1/24h", utc_now()
    found = [_restored(1, f"m{n}", began=began, engine=engine) for n in range(3)]

    RestoredAttempts(engine).add(found)

    assert isinstance(_attempts(engine, rules).claim("m3", MESSAGE, sender=SENDER), LimitUsed)
    with engine.connect() as connection:
        counts = connection.scalars(select(limit_usage.c.counts)).one()
    assert [3] == list(json.loads(counts).values())


@pytest.mark.parametrize(("age", "counts"), [(59, True), (63, False)])
def test_a_limit_counts_it_from_when_it_began(engine: Engine, age: int, *, counts: bool) -> None:
    """A window later, and a 24th of it at most, its place is free."""
    counted_at = utc_now() - age * MINUTE
    RestoredAttempts(engine).add(
        [_restored(1, engine=engine, rules="person=1/1h", counted_at=counted_at)]
    )

    claim = _attempts(engine, "person=1/1h").claim("m2", MESSAGE, sender=SENDER)

    assert counts == isinstance(claim, LimitUsed)


def test_only_what_is_missing_or_refused_is_written(engine: Engine) -> None:
    """So it can be repeated, and what the database knows better stays."""
    attempts, restored = _attempts(engine), RestoredAttempts(engine)
    attempts.claim("m1", MESSAGE, sender=SENDER)
    attempts.claim("m2", MESSAGE, sender=SENDER)
    attempts.refuse("m2", 1, 1)
    wanted = [_restored(1), _restored(1, "m2"), _restored(UNNUMBERED, "m3")]

    missing = restored.missing(wanted)
    restored.add(missing)

    assert wanted[1:] == missing
    assert [] == restored.missing(wanted)
    assert isinstance(attempts.claim("m2", MESSAGE, sender=SENDER), ClaimHeld)


def test_nothing_is_written_of_a_person_who_was_erased(engine: Engine) -> None:
    """Nothing of the message can be sent anyway, and its record would have a hash again."""
    Erasure(engine, MESSAGE.to).block(["m1"])

    assert [] == RestoredAttempts(engine).missing([_restored(1), _restored(UNNUMBERED)])
