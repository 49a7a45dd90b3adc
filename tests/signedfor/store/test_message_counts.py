"""Counts in the message index on both databases."""

import itertools
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine, event

from signedfor.contract import MessageRequest
from signedfor.store.database import open_engine
from signedfor.store.dead_letter_index import DeadLetterIndex
from signedfor.store.message_counts import Count, Interval, MessageCounts
from signedfor.store.message_index import MessageIndex
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.send_attempts import SendAttempts
from signedfor.twilio.rates import SenderKind
from tests.signedfor.store.indexed_messages import MINUTE, START, closed, ended, running

HOUR = timedelta(hours=1)


@pytest.fixture
def index(engine: Engine) -> MessageIndex:
    """An empty index."""
    return MessageIndex(engine)


@pytest.fixture
def counts(engine: Engine) -> MessageCounts:
    """Counts in it."""
    return MessageCounts(engine)


def test_counts_over_time(index: MessageIndex, counts: MessageCounts) -> None:
    """By the time when they ended, in UTC."""
    index.put([ended(number) for number in (1, 58, 59, 60)])
    index.put([ended(2, "failed"), running(3)])
    since, until = START, START + timedelta(days=1)

    assert [
        Count(START, "delivered", 2),
        Count(START, "failed", 1),
        Count(START + HOUR, "delivered", 2),
    ] == counts.over_time(Interval.HOUR, since=since, until=until)
    assert [
        Count(START + 2 * MINUTE, "delivered", 1),
        Count(START + 3 * MINUTE, "failed", 1),
    ] == counts.over_time(Interval.MINUTE, since=since, until=START + 10 * MINUTE)
    midnight = START.replace(hour=0)
    assert [Count(midnight, "delivered", 4), Count(midnight, "failed", 1)] == counts.over_time(
        Interval.DAY, since=midnight, until=until
    )


def test_counts_follow_a_message(index: MessageIndex, counts: MessageCounts) -> None:
    """One that ends later than it was first read, in another hour."""
    index.put([running(1)])
    index.put([ended(1, closed_at=START + 3 * HOUR)])

    assert [Count(START + 3 * HOUR, "delivered", 1)] == counts.over_time(
        Interval.HOUR, since=START, until=START + timedelta(days=1)
    )


def test_open_messages_by_stage(index: MessageIndex, counts: MessageCounts) -> None:
    """Those that have ended do not count."""
    index.put([running(1), running(2), running(3, status="resolving"), ended(4)])

    assert {"waiting": 2, "resolving": 1} == counts.open_by_stage()


def test_outcomes_by_sender(index: MessageIndex, counts: MessageCounts) -> None:
    """With the share that was delivered of what Twilio took."""
    index.put([ended(number) for number in range(3)])
    index.put([ended(3, "undelivered"), ended(4, "suppressed"), ended(5, "failed")])
    index.put([ended(6, "suppressed", sender="Acme"), ended(7, sender=None)])

    acme, number = sorted(counts.by_sender(since=START), key=lambda each: -ord(each.sender[0]))
    assert ("Acme", {"suppressed": 1}, None) == (acme.sender, acme.outcomes, acme.delivery_rate)
    assert (4, 0.75, None) == (number.sent, number.delivery_rate, acme.failure_rate)
    assert 2 / 5 == number.failure_rate
    assert [] == counts.by_sender(since=START + timedelta(days=1))


@pytest.mark.parametrize(
    ("since", "delivered"),
    [(START, 5), (START + 2 * MINUTE, 4), (START + HOUR, 3), (START + 4 * HOUR, 1)],
)
def test_outcomes_are_counted_to_the_moment(
    index: MessageIndex, counts: MessageCounts, since: Any, delivered: int
) -> None:
    """Whole hours have an index of their own; the first hour counts from the moment on."""
    ends = [START + MINUTE, START + 2 * MINUTE, START + HOUR, START + 2 * HOUR, START + 5 * HOUR]
    index.put([ended(number, closed_at=at) for number, at in enumerate(ends)])

    (found,) = counts.by_sender(since=since)

    assert {"delivered": delivered} == found.outcomes


def test_rows_of_campaigns_count_once(index: MessageIndex, counts: MessageCounts) -> None:
    """By the newest message of each: what was retried counts as its retry does."""
    spring: dict[str, Any] = {"campaign_id": "spring"}
    index.put([ended(message_id="spring:1", **spring), running(message_id="spring:2", **spring)])
    index.put([ended(3, "failed", message_id="spring:3", **spring)])
    index.put([ended(4, "undelivered", message_id="spring:3.retry-1", **spring)])
    index.put([ended(5, "delivered", message_id="spring:3.retry-2", **spring)])
    index.put([ended(6, "failed", message_id="other:1", campaign_id="other"), ended(7)])
    # Only their ids look like retries.
    index.put([ended(8, message_id="spring:4.retry-x", **spring)])
    index.put([ended(9, message_id="m7.retry-1", **spring)])

    found = counts.by_campaign(["spring", "other", "none"])

    assert {
        "spring": {"delivered": 4, "waiting": 1},
        "other": {"failed": 1},
        "none": {},
    } == found


def test_rows_that_ended_without_a_report(index: MessageIndex, counts: MessageCounts) -> None:
    """They are told from the others that have failed; of other campaigns nothing is taken off."""
    index.put([ended(1, "failed", campaign_id="spring", has_report=False)])
    index.put([ended(2, "failed", campaign_id="spring"), ended(3, campaign_id="spring")])
    index.put([ended(4, "failed", campaign_id="other")])

    assert {
        "spring": {"no_report": 1, "failed": 1, "delivered": 1},
        "other": {"failed": 1},
    } == counts.by_campaign(["spring", "other"])


def test_rows_that_were_delivered_late(
    index: MessageIndex, counts: MessageCounts, engine: Engine
) -> None:
    """A dead letter that was closed by a delivery makes its row a delivered one, once."""
    for number, status in enumerate(("unconfirmed", "failed", "undelivered"), start=1):
        index.put([ended(number, status, message_id=f"spring:{number}", campaign_id="spring")])
    retry = ended(4, "unconfirmed", message_id="spring:3.retry-1", campaign_id="spring")
    index.put([retry])
    letters = DeadLetterIndex(engine)
    for message_id, status in {
        "spring:1": "delivered_late",
        "spring:2": "discarded",
        "spring:3": "retried",
        "spring:3.retry-1": "delivered_late",
        "spring:4": "delivered_late",  # its message is not indexed yet
    }.items():
        letters.put([closed(message_id, status, campaign_id="spring")])

    assert {"spring": {"delivered": 2, "failed": 1}} == counts.by_campaign(["spring"])


def test_receipt_delays(index: MessageIndex, counts: MessageCounts, engine: Engine) -> None:
    """From the POST that Twilio took to delivery, ascending."""

    def submit(message_id: str, *minutes: int) -> None:
        for submission, minute in enumerate(minutes, start=1):
            rates = dict.fromkeys(SenderKind, 100_000.0)
            moments = itertools.repeat(START + minute * MINUTE)
            attempts = SendAttempts(
                engine, RateLimiter(engine, rates=rates), now=partial(next, moments)
            )
            attempts.claim(
                message_id,
                MessageRequest(to="+15558675309", body="Hi"),
                sender="+15005550006",
                submission=submission,
            )
            if minute != minutes[-1]:
                attempts.refuse(message_id, submission=submission, attempt=1)

    for number, times in enumerate([(1, 5), (2,), (3,), (4,)]):
        submit(f"m{number}", *times)
    ends = [(0, "delivered"), (1, "delivered"), (2, "failed")]
    index.put([ended(n, status, closed_at=START + 9 * MINUTE) for n, status in ends])
    index.put([running(3), ended(4)])  # the last one without a record

    assert [4 * MINUTE, 7 * MINUTE] == counts.receipt_delays(since=START)
    assert [] == counts.receipt_delays(since=START + HOUR)


def test_counts_sort_nothing(sqlite_url: str) -> None:
    """Their indexes have the order of the groups. PostgreSQL has the same indexes."""
    engine = open_engine(sqlite_url)
    counts, rows = MessageCounts(engine), [ended(number) for number in range(500)]
    MessageIndex(engine).put(rows)
    statements: list[tuple[str, Any]] = []
    event.listen(
        engine,
        "before_cursor_execute",
        lambda _c, _cur, statement, parameters, *_: statements.append((statement, parameters)),
    )
    counts.over_time(Interval.HOUR, since=START, until=START + HOUR)
    counts.by_campaign(["spring"])

    with engine.connect() as connection:
        for statement, parameters in tuple(statements):
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            details = [each.detail for each in plan]
            assert not [each for each in details if "SCAN" in each], details
            if "JOIN" not in statement:  # with the dead letters that were delivered late: few
                assert ["COVERING"] == ["COVERING" for each in details if "COVERING" in each]
                assert not [each for each in details if "TEMP" in each], details
    engine.dispose()
