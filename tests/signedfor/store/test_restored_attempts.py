"""Attempt records that were lost, and written again without knowing their submission."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, select

from signedfor.contract import MessageRequest
from signedfor.store.erasure import Erasure
from signedfor.store.fingerprints import fingerprint, recipient_hash
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.restored_attempts import RestoredAttempt, RestoredAttempts
from signedfor.store.send_attempts import Claimed, ClaimHeld, SendAttempts
from signedfor.store.tables import UNNUMBERED, send_attempts
from signedfor.twilio.rates import SenderKind

SENDER = "+15005550006"
MESSAGE = MessageRequest(to="+15558675309", body="Your parcel is at the door.")
BEGAN = datetime(2026, 11, 21, 12, tzinfo=UTC)


def _attempts(engine: Engine) -> SendAttempts:
    rates = dict.fromkeys(SenderKind, 100_000.0)
    return SendAttempts(engine, RateLimiter(engine, rates=rates))


def _restored(submission: int, message_id: str = "m1") -> RestoredAttempt:
    return RestoredAttempt(
        message_id=message_id,
        submission=submission,
        started_at=BEGAN,
        fingerprint=fingerprint(MESSAGE, sender=SENDER),
        recipient_hash=recipient_hash(MESSAGE.to),
        sender=SENDER,
        person_reference="0" * 32,
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
