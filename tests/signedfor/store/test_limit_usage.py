"""Limits are kept in the transaction of the claim, exactly, by however many workers."""

import multiprocessing
import random
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, func, select

from signedfor.contract import MessageRequest, Priority
from signedfor.message_limits import Limit, parse_rules
from signedfor.store import limit_usage
from signedfor.store.claim_statements import Blocked
from signedfor.store.database import open_engine, transaction
from signedfor.store.limit_usage import BUCKETS, LimitUsed, count_message
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.send_attempts import Claimed, ClaimHeld, NotBefore, SendAttempts
from signedfor.store.tables import limit_usage as table
from signedfor.store.tables import send_attempts, senders, utc_now
from signedfor.twilio.rates import SenderKind
from tests.signedfor.store.observation import observed

SENDER = "+15005550006"
OTHER_SENDER = "+15005550009"
MESSAGE = MessageRequest(to="+15558675309", body="Your parcel is at the door.")
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def _attempts(
    engine: Engine,
    rules: str = "person=2/24h",
    *,
    rate: float = 100_000.0,
    now: Callable[[], datetime] = utc_now,
) -> SendAttempts:
    limiter = RateLimiter(engine, rates=dict.fromkeys(SenderKind, rate))
    return SendAttempts(engine, limiter, limits=parse_rules(rules), now=now)


def _count(engine: Engine, what: object = send_attempts) -> int:
    with transaction(engine, read_only=True) as connection:
        return connection.execute(select(func.count()).select_from(what)).scalar_one()  # type: ignore[arg-type] # one of the tables


def test_a_message_beyond_the_limit_is_not_claimed(engine: Engine) -> None:
    """It learns which rule, and when there is a place; nothing of the claim is left."""
    attempts = _attempts(engine, now=lambda: NOW)
    claims = [attempts.claim(f"m{n}", MESSAGE, sender=SENDER) for n in range(3)]

    assert [Claimed(), Claimed()] == claims[:2]
    denied = claims[2]
    assert isinstance(denied, LimitUsed)
    assert "person=2/24h" == denied.rule
    assert NOW + DAY < denied.until <= NOW + DAY + 2 * DAY / BUCKETS
    assert denied.until <= NOW + denied.max_wait
    assert 2 == _count(engine)


def test_a_denial_leaves_the_senders_time_to_others(engine: Engine) -> None:
    """The rate limiter is rolled back with it."""
    attempts = _attempts(engine, "person=1/24h", rate=1.0, now=utc_now)
    attempts.claim("m1", MESSAGE, sender=SENDER)
    assert isinstance(attempts.claim("m2", MESSAGE, sender=OTHER_SENDER), LimitUsed)

    other = MESSAGE.model_copy(update={"to": "+15558675310"})

    assert Claimed() == attempts.claim("m3", other, sender=OTHER_SENDER)


def test_a_message_beyond_the_limit_does_not_queue(engine: Engine) -> None:
    """It reserves no time at a busy sender, which it could not use."""
    attempts = _attempts(engine, "person=1/24h", rate=0.01)
    attempts.claim("m1", MESSAGE, sender=SENDER)

    denied = attempts.claim("m2", MESSAGE, sender=SENDER)

    assert isinstance(denied, LimitUsed)
    with transaction(engine, read_only=True) as connection:
        reserved = connection.execute(select(senders.c.normal_reserved_until)).scalar_one()
    assert reserved <= datetime.now(UTC).timestamp() + 101


def test_what_was_counted_still_queues(engine: Engine) -> None:
    """A message that Twilio refused for a while waits for its sender, not for its own place."""
    attempts = _attempts(engine, "person=1/24h", rate=0.01)
    attempts.claim("m1", MESSAGE, sender=SENDER)
    attempts.refuse("m1", 1, 1)

    assert isinstance(attempts.claim("m1", MESSAGE, sender=SENDER), NotBefore)


def test_it_waits_until_the_oldest_no_longer_count(engine: Engine) -> None:
    """Then one is sent for each that has left the window, and never more in any window."""
    moment = NOW
    attempts = _attempts(engine, now=lambda: moment)
    attempts.claim("m1", MESSAGE, sender=SENDER)
    moment = NOW + DAY / 2
    attempts.claim("m2", MESSAGE, sender=SENDER)
    denied = attempts.claim("m3", MESSAGE, sender=SENDER)
    assert isinstance(denied, LimitUsed)

    moment = NOW + DAY
    still_denied = attempts.claim("m3", MESSAGE, sender=SENDER)
    moment = denied.until
    sent, next_denied = (attempts.claim(each, MESSAGE, sender=SENDER) for each in ("m3", "m4"))

    assert isinstance(still_denied, LimitUsed)
    assert Claimed() == sent
    assert isinstance(next_denied, LimitUsed)
    assert next_denied.until > NOW + DAY / 2 + DAY


def test_a_message_is_counted_once(engine: Engine) -> None:
    """Its retries and its further submissions take no further place."""
    attempts = _attempts(engine)
    attempts.claim("m1", MESSAGE, sender=SENDER)
    attempts.refuse("m1", 1, 1)

    again = attempts.claim("m1", MESSAGE, sender=SENDER)
    held = attempts.claim("m1", MESSAGE, sender=SENDER)
    resubmitted = attempts.claim("m1", MESSAGE, sender=SENDER, submission=2)
    second = attempts.claim("m2", MESSAGE, sender=SENDER)
    third = attempts.claim("m3", MESSAGE, sender=SENDER)
    resubmitted_again = attempts.claim("m1", MESSAGE, sender=SENDER, submission=3)

    assert [Claimed(2), Claimed(), Claimed(), Claimed()] == [
        again,
        resubmitted,
        second,
        resubmitted_again,
    ]
    assert isinstance(held, ClaimHeld)
    assert isinstance(third, LimitUsed)


@pytest.mark.parametrize("priority", Priority)
def test_every_priority_is_limited(engine: Engine, priority: Priority) -> None:
    """A loop may write urgent messages too."""
    attempts = _attempts(engine, "person=1/24h")
    urgent = MESSAGE.model_copy(update={"priority": priority})
    attempts.claim("m1", MESSAGE, sender=SENDER)

    assert isinstance(attempts.claim("m2", urgent, sender=SENDER), LimitUsed)


def test_a_person_is_counted_on_every_channel_and_from_every_sender(engine: Engine) -> None:
    """The number is the person."""
    attempts = _attempts(engine, "person=1/24h")
    attempts.claim("m1", MESSAGE, sender=SENDER)
    whatsapp = MESSAGE.model_copy(update={"to": f"whatsapp:{MESSAGE.to}"})
    other = MESSAGE.model_copy(update={"to": "+15558675310"})

    denied = attempts.claim("m2", whatsapp, sender=f"whatsapp:{OTHER_SENDER}")

    assert isinstance(denied, LimitUsed)
    assert Claimed() == attempts.claim("m3", other, sender=SENDER)


def test_a_message_denied_by_one_limit_uses_no_other(engine: Engine) -> None:
    """The tenant's place is left to others."""
    attempts = _attempts(engine, "person=1/24h,tenant=2/24h")
    attempts.claim("m1", MESSAGE, sender=SENDER)
    attempts.claim("m2", MESSAGE, sender=SENDER)  # denied for the person

    others = [MESSAGE.model_copy(update={"to": f"+1555867540{n}"}) for n in range(2)]
    claims = [attempts.claim(f"o{n}", each, sender=SENDER) for n, each in enumerate(others)]

    assert Claimed() == claims[0]
    assert isinstance(claims[1], LimitUsed)
    assert "tenant=2/24h" == claims[1].rule


def test_what_is_blocked_is_not_counted(engine: Engine) -> None:
    """A message that waits for its sender takes no place of others meanwhile."""
    attempts = _attempts(engine, "person=1/24h")
    RateLimiter(engine).pause(SENDER)
    assert Blocked.PAUSED is attempts.claim("m1", MESSAGE, sender=SENDER)

    assert Claimed() == attempts.claim("m2", MESSAGE, sender=OTHER_SENDER)


@pytest.mark.parametrize(
    ("rules", "statements"), [("", 2), ("person=9/24h", 4), ("person=9/24h,tenant=9/1h", 5)]
)
def test_a_limit_costs_two_statements_and_none_costs_nothing(
    engine: Engine, rules: str, statements: int
) -> None:
    """All in the one transaction of the claim."""
    attempts = (
        _attempts(engine, rules)
        if rules
        else SendAttempts(engine, RateLimiter(engine, rates=dict.fromkeys(SenderKind, 1e5)))
    )
    attempts.claim("before", MESSAGE, sender=SENDER)
    work = observed(engine)

    attempts.claim("m1", MESSAGE, sender=SENDER)

    assert (1, ["commit"]) == (work.begins, work.ends)
    assert statements == len(work.statements)
    assert rules or not any("limit_usage" in each for each in work.statements)


def _limit(rule: str) -> Limit:
    (parsed,) = parse_rules(rule)
    return Limit(rule=parsed, key="k", person_reference="r")


@pytest.mark.parametrize("seed", range(4))
def test_no_window_ever_has_more_messages_than_allowed(engine: Engine, seed: int) -> None:
    """Whenever they come; and a place that was promised is there if nobody else takes it."""
    chance = random.Random(seed)  # noqa: S311 - repeatable, no secret
    limit = _limit(chance.choice(["person=3/1h", "person=1/1h", "person=7/1h"]))
    window, moment, sent = limit.rule.window, NOW, []
    for _ in range(150):
        moment += window * chance.expovariate(4.0 * limit.rule.messages)
        with transaction(engine) as connection:
            denied = count_message(connection, [limit], now=moment)
        if denied is None:
            sent.append(moment)
        else:
            assert moment < denied.until <= moment + denied.max_wait
            if chance.random() < 0.3:
                moment = denied.until
                with transaction(engine) as connection:
                    assert count_message(connection, [limit], now=moment) is None
                sent.append(moment)

    assert len(sent) > 20
    for first in sent:
        assert limit.rule.messages >= len([each for each in sent if first <= each < first + window])


def test_another_window_is_another_count(engine: Engine) -> None:
    """A changed rule starts at once, and does not misread the old buckets."""
    first = _attempts(engine, "person=1/24h")
    first.claim("m1", MESSAGE, sender=SENDER)

    lower = _attempts(engine, "person=1/1h").claim("m2", MESSAGE, sender=SENDER)
    higher = _attempts(engine, "person=2/24h").claim("m3", MESSAGE, sender=SENDER)
    same = _attempts(engine, "person=2/1h").claim("m4", MESSAGE, sender=SENDER)

    assert [Claimed(), Claimed(), Claimed()] == [lower, higher, same]


def test_the_purge_deletes_what_no_longer_counts(engine: Engine) -> None:
    """And nothing that does."""
    old, new = _limit("person=1/1h"), replace(_limit("person=1/24h"), key="new")
    with transaction(engine) as connection:
        for each in (old, new):
            count_message(connection, [each], now=NOW)

    before = limit_usage.purge(engine, before=NOW + timedelta(hours=1))
    after = limit_usage.purge(engine, before=NOW + timedelta(hours=2))

    assert (0, 1, 1) == (before, after, _count(engine, table))


RULES = "person=10/1h,tenant=15/1h"
CLAIMS = 20


def claim_many(url: str, worker: int) -> int:
    """In a process of its own: claims to one person and to others; how many were made."""
    engine = open_engine(url, lock_wait_seconds=60)
    # Each process is in another bucket, as at the boundary of two, and as with clocks that differ.
    skew = timedelta(seconds=150 * worker)
    attempts = _attempts(engine, RULES, now=lambda: NOW + skew)
    others = (MESSAGE.model_copy(update={"to": f"+1555{worker}67{n:04d}"}) for n in range(CLAIMS))
    requests = [each for other in others for each in (MESSAGE, other)]
    claims = [
        attempts.claim(f"w{worker}-{n}", each, sender=f"+1500555{worker:04d}")
        for n, each in enumerate(requests)
    ]
    engine.dispose()
    return sum(isinstance(each, Claimed) for each in claims)


def test_limits_are_exact_in_four_processes(database_url: str) -> None:
    """None counts past another, and none waits for another in a circle."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(4, mp_context=context) as processes:
        claimed = sum(processes.map(claim_many, [database_url] * 4, range(4)))

    assert 15 == claimed
    engine = open_engine(database_url)
    assert 15 == _count(engine)
    engine.dispose()
