"""The duplicate guard: the same content to the same person is sent once within its time."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select, text

from signedfor.consent import Reason, Source, Suppression
from signedfor.contract import MessageRequest
from signedfor.message_limits import parse_rules
from signedfor.store import duplicates
from signedfor.store.claim_statements import Blocked
from signedfor.store.database import transaction
from signedfor.store.duplicates import DuplicateOf
from signedfor.store.people import People
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.send_attempts import Claimed, ClaimHeld, SendAttempts
from signedfor.store.suppressions import Suppressions
from signedfor.store.tables import limit_usage, send_attempts, utc_now
from signedfor.twilio.rates import SenderKind
from tests.signedfor.store.observation import observed

SENDER = "+15005550006"
OTHER_SENDER = "+15005550009"
MESSAGE = MessageRequest(to="+15558675309", body="Your parcel is at the door.")
TEMPLATE = "HX" + "0c" * 16
TEMPLATED = MessageRequest(
    to=MESSAGE.to, content_sid=TEMPLATE, content_variables={"1": "Ada", "2": "noon"}
)
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
WINDOW = timedelta(minutes=10)


def _attempts(
    engine: Engine,
    *,
    window: timedelta = WINDOW,
    now: Callable[[], datetime] = utc_now,
    **options: Any,
) -> SendAttempts:
    limiter = RateLimiter(engine, rates=dict.fromkeys(SenderKind, 100_000.0))
    return SendAttempts(engine, limiter, duplicate_window=window, now=now, **options)


def _changed(message: MessageRequest, **fields: Any) -> MessageRequest:
    return MessageRequest(**{**message.model_dump(exclude_none=True), **fields})


def _hashes(engine: Engine) -> list[str | None]:
    with transaction(engine, read_only=True) as connection:
        return list(connection.scalars(select(send_attempts.c.content_hash)))


def test_the_same_content_to_the_same_person_is_a_duplicate(engine: Engine) -> None:
    """From whatever sender, and on whatever channel; the first one is named."""
    attempts = _attempts(engine, now=lambda: NOW)
    attempts.claim("m1", MESSAGE, sender=SENDER)

    claims = [
        attempts.claim("m2", MESSAGE, sender=SENDER),
        attempts.claim("m3", MESSAGE, sender=OTHER_SENDER),
        attempts.claim("m4", _changed(MESSAGE, to=f"whatsapp:{MESSAGE.to}"), sender=SENDER),
    ]

    assert [DuplicateOf("m1", NOW)] * 3 == claims
    assert 1 == len(_hashes(engine))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (MESSAGE, _changed(MESSAGE, body="Your parcel is at the door!")),
        (MESSAGE, _changed(MESSAGE, to="+15558675310")),
        (MESSAGE, _changed(MESSAGE, media_urls=["https://images.example/a.png"])),
        (TEMPLATED, _changed(TEMPLATED, content_variables={"1": "Ada", "2": "one"})),
        (TEMPLATED, _changed(TEMPLATED, content_sid="HX" + "0d" * 16)),
    ],
)
def test_other_content_is_none(
    engine: Engine, first: MessageRequest, second: MessageRequest
) -> None:
    """Any part of it that differs."""
    attempts = _attempts(engine)
    attempts.claim("m1", first, sender=SENDER)

    assert Claimed() == attempts.claim("m2", second, sender=SENDER)


def test_a_template_with_the_same_variables_is_a_duplicate(engine: Engine) -> None:
    """In whatever order the variables are written."""
    attempts = _attempts(engine)
    attempts.claim("m1", TEMPLATED, sender=SENDER)
    again = _changed(TEMPLATED, content_variables={"2": "noon", "1": "Ada"})

    assert isinstance(attempts.claim("m2", again, sender=SENDER), DuplicateOf)


def test_after_its_time_it_is_none(engine: Engine) -> None:
    """Counted from the newest POST of the other."""
    moment = NOW
    attempts = _attempts(engine, now=lambda: moment)
    attempts.claim("m1", MESSAGE, sender=SENDER)

    moment = NOW + WINDOW - timedelta(seconds=1)
    before = attempts.claim("m2", MESSAGE, sender=SENDER)
    moment = NOW + WINDOW
    after = attempts.claim("m2", MESSAGE, sender=SENDER)

    assert [DuplicateOf("m1", NOW), Claimed()] == [before, after]


def test_a_message_that_twilio_refused_has_no_duplicate(engine: Engine) -> None:
    """The person does not have it. If another brings it meanwhile, its own retry is one."""
    attempts = _attempts(engine)
    attempts.claim("m1", MESSAGE, sender=SENDER)
    attempts.refuse("m1", 1, 1)

    assert Claimed() == attempts.claim("m2", MESSAGE, sender=SENDER)
    assert isinstance(attempts.claim("m1", MESSAGE, sender=SENDER), DuplicateOf)


def test_a_message_is_no_duplicate_of_itself(engine: Engine) -> None:
    """Neither an attempt that is repeated, nor a further submission, nor a claim that is held."""
    attempts = _attempts(engine)
    attempts.claim("m1", MESSAGE, sender=SENDER)
    held = attempts.claim("m1", MESSAGE, sender=SENDER)
    resubmitted = attempts.claim("m1", MESSAGE, sender=SENDER, submission=2)
    attempts.refuse("m1", 2, 1)

    assert isinstance(held, ClaimHeld)
    assert Claimed() == resubmitted
    assert Claimed(2) == attempts.claim("m1", MESSAGE, sender=SENDER, submission=2)


@pytest.mark.parametrize("other", ["m1.retry-1", "m1.retry-2"])
def test_a_retried_dead_letter_is_no_duplicate_of_what_it_retries(
    engine: Engine, other: str
) -> None:
    """Of another message it is one, like what it retries."""
    attempts = _attempts(engine)
    attempts.claim("m1", MESSAGE, sender=SENDER)

    retried = attempts.claim(other, MESSAGE, sender=SENDER)
    also = attempts.claim("m1.retry-3", MESSAGE, sender=SENDER)
    similar = [
        attempts.claim(each, MESSAGE, sender=SENDER) for each in ("m1.retry", "m2.retry-1", "m10")
    ]

    assert [Claimed(), Claimed()] == [retried, also]
    assert all(isinstance(each, DuplicateOf) for each in similar)


def test_a_retry_of_a_duplicate_is_one_too(engine: Engine) -> None:
    """Retrying it at once does not get past the guard."""
    attempts = _attempts(engine)
    attempts.claim("m1", MESSAGE, sender=SENDER)
    attempts.claim("m2", MESSAGE, sender=SENDER)

    assert isinstance(attempts.claim("m2.retry-1", MESSAGE, sender=SENDER), DuplicateOf)


def test_of_two_claims_at_once_one_is_made(engine: Engine) -> None:
    """From different senders, whose rate limiters do not keep them apart."""
    attempts = _attempts(engine)
    start = threading.Barrier(4)
    for round_ in range(10):
        message = _changed(MESSAGE, body=f"Round {round_}")

        def claim(number: int, message: MessageRequest = message, round_: int = round_) -> Any:
            start.wait(10)
            return attempts.claim(f"m{round_}-{number}", message, sender=f"+1500555000{number}")

        with ThreadPoolExecutor(4) as threads:
            claims = list(threads.map(claim, range(4)))

        assert [Claimed()] == [each for each in claims if not isinstance(each, DuplicateOf)]


def test_a_duplicate_takes_no_place_in_a_limit(engine: Engine) -> None:
    """It is not sent."""
    attempts = _attempts(engine, limits=parse_rules("person=2/24h"))
    attempts.claim("m1", MESSAGE, sender=SENDER)
    attempts.claim("m2", MESSAGE, sender=SENDER)

    with transaction(engine, read_only=True) as connection:
        counts = connection.execute(select(limit_usage.c.counts)).scalar_one()
    assert counts.endswith(": 1}")


def test_an_opt_out_comes_first(engine: Engine) -> None:
    """What must not be sent at all is no dead letter."""
    attempts = _attempts(engine)
    attempts.claim("m1", MESSAGE, sender=SENDER)
    Suppressions(engine).record(
        Suppression(recipient=MESSAGE.to, reason=Reason.OPTED_OUT, source=Source.INBOUND),
        by="test",
    )

    assert Blocked.SUPPRESSED is attempts.claim("m2", MESSAGE, sender=SENDER)


def test_without_the_guard_nothing_is_written_or_asked(engine: Engine) -> None:
    """Not even a hash: who reads the database learns nothing more."""
    attempts = _attempts(engine, window=timedelta(0))
    attempts.claim("m1", MESSAGE, sender=SENDER)
    work = observed(engine)

    assert Claimed() == attempts.claim("m2", MESSAGE, sender=SENDER)
    assert 2 == len(work.statements)
    assert not any("content_hash" in each for each in work.statements)
    assert [None, None] == _hashes(engine)


def test_the_guard_uses_its_index(engine: Engine) -> None:
    """It asks for one hash, however many records there are."""
    reference = People(engine).reference(MESSAGE.to)
    asked = duplicates.parameters("m1", MESSAGE, person_reference=reference, within=WINDOW, now=NOW)
    statement = (
        select(duplicates.IS_DUPLICATE)
        .params(asked)
        .compile(engine, compile_kwargs={"literal_binds": True})
    )
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":  # it would read an empty table as a whole
            connection.execute(text("SET enable_seqscan = off"))
        explain = {"sqlite": "EXPLAIN QUERY PLAN", "postgresql": "EXPLAIN"}[engine.dialect.name]
        plan = connection.exec_driver_sql(f"{explain} {statement}".replace("%", "%%")).all()

    assert "ix_send_attempts_content_hash" in str(plan)


def test_the_guard_is_in_the_claims_statement(engine: Engine) -> None:
    """With PostgreSQL a lock comes before it, so that of two at once the second sees the first."""
    attempts = _attempts(engine)
    attempts.claim("before", MESSAGE, sender=SENDER)
    work = observed(engine)

    attempts.claim("m1", _changed(MESSAGE, body="Another"), sender=SENDER)

    assert (3 if engine.dialect.name == "postgresql" else 2) == len(work.statements)
