"""What the gate makes of backlogs, bursts and outages, on both databases, in simulated time."""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine

from signedfor.store.rate_limiter import always
from tests.signedfor.store.rate_limiter_simulation import SENDER, START, Road, mostly_late

_chance = random.Random


@pytest.mark.parametrize(
    ("rate", "lengths", "messages", "urgent_every"),
    [(10, (1, 2, 3), 400, 0.5), (50, (1,), 1000, 0.1), (1, (1, 10), 60, 30)],
)
def test_a_day_at_the_gate(
    engine: Engine, rate: int, lengths: tuple[int, ...], messages: int, urgent_every: float
) -> None:
    """A backlog with urgent messages between: the rate is used, kept, and urgent ones are fast."""
    chance = _chance(7)
    road = Road(engine, rate, late=mostly_late(7))
    segments = [chance.choice(lengths) for _ in range(messages)]
    for each in segments:
        road.hand_in(0, each)
    at = 2.0
    while at < 0.9 * sum(segments) / rate:
        road.hand_in(at, is_urgent=True)
        at += urgent_every

    road.go()

    assert road.used() >= 0.98
    longest = max(lengths)
    assert road.worst_second() <= max(2 * rate, rate + longest)
    waits = road.waits(urgent=True)
    # Who waits for one that was let by before cannot come sooner.
    assert waits[int(0.99 * len(waits))] < max(2, longest / rate)


@pytest.mark.parametrize("others", [0, 60])
def test_urgent_messages_that_always_come_late(engine: Engine, others: int) -> None:
    """Whoever misses its moment by seconds, time and again, is sent, and shuts nobody out."""
    road = Road(engine, 1, late=lambda: 2.5)
    for _ in range(5):
        road.hand_in(0, is_urgent=True)
    for _ in range(others):
        road.hand_in(0)

    road.go(until=90)

    assert 5 + others == len(road.send_attempts)
    assert road.waits(urgent=True)[-1] < 10


@pytest.mark.parametrize("skew", [-0.5, -0.15, 0.15, 0.5])
def test_clocks_that_do_not_agree(engine: Engine, skew: float) -> None:
    """A worker's clock half a second off Temporal's: the rate is kept, little of it is lost."""
    road = Road(engine, 10, late=mostly_late(3, 0.1), skew=lambda: skew)
    for _ in range(300):
        road.hand_in(0)
    for number in range(40):
        road.hand_in(1 + number / 2, is_urgent=True)

    road.go()

    assert road.used() >= 0.97
    assert road.worst_second() <= 20
    assert road.waits(urgent=True)[-1] < 2
    assert road.looks < 2 * len(road.send_attempts), "nobody comes again and again"


def test_workers_whose_clocks_do_not_agree(engine: Engine) -> None:
    """Each of them up to 0.15 s off, either way."""
    chance = _chance(5)
    road = Road(engine, 10, late=mostly_late(3, 0.1), skew=lambda: chance.uniform(-0.15, 0.15))
    for _ in range(300):
        road.hand_in(0)

    road.go()

    assert road.used() >= 0.97
    assert road.worst_second() <= 20


@pytest.mark.parametrize("others", [0, 100])
def test_a_stall_among_urgent_messages(engine: Engine, others: int) -> None:
    """Those who gathered meanwhile do not leave together."""
    road = Road(engine, 10, stall=(3.0, 4.9))
    for _ in range(100):
        road.hand_in(0, is_urgent=True)
    for _ in range(others):
        road.hand_in(0)

    road.go()

    assert 100 + others == len(road.send_attempts)
    assert road.worst_second() <= 20
    assert road.waits(urgent=True)[-1] < 12, "and they do not wait for those who queue"


@pytest.mark.parametrize("segments", [1, 3])
def test_after_an_outage_of_the_database(engine: Engine, segments: int) -> None:
    """All that were due are tried again, before who came later, and urgent ones hardly feel it."""
    chance = _chance(1)
    road = Road(engine, 1, late=mostly_late(2, 0.1))
    for _ in range(150):
        road.try_again(120 * chance.random(), segments)
    for _ in range(50):
        road.hand_in(0)
    for number in range(30):
        road.hand_in(1 + 10 * number, is_urgent=True)

    road.go()

    assert 230 == len(road.send_attempts)
    assert road.waits(urgent=True)[-1] < 2 + segments
    assert road.used(until=150 * segments + 50) >= 0.98
    retried = [post.at for post in road.send_attempts if post.message.is_retry]
    assert retried[-1] < 1.1 * (150 * segments + 30)


def test_a_backlog_that_expires(engine: Engine) -> None:
    """Urgent messages cost as many others their time as they are, not each whom they bump."""

    def in_time(moment: datetime) -> bool:
        return moment < START + timedelta(seconds=203)

    road = Road(engine, 1)
    for _ in range(200):
        road.hand_in(0, fits=in_time)
    for _ in range(200):
        road.hand_in(0)
    for number in range(10):
        road.hand_in(5 + 10 * number, is_urgent=True)

    road.go()

    assert 0 < len(road.expired) <= 10
    assert road.used() >= 0.98
    assert road.looks < 3 * len(road.send_attempts)


def test_a_message_that_cannot_wait_for_the_end(engine: Engine) -> None:
    """Bumped in the midst of a long backlog of others that can, it is sent in time."""
    road = Road(engine, 1)
    for number in range(200):
        road.hand_in(
            0, fits=(lambda at: at < START + timedelta(seconds=60)) if number == 50 else always
        )
    for _ in range(5):
        road.hand_in(49, is_urgent=True)

    road.go()

    assert not road.expired
    assert 205 == len(road.send_attempts)


@dataclass(frozen=True)
class _Change:
    before: float
    after: float
    new: int
    """How many are handed in after it, when 100 wait already."""
    takes: float
    """Seconds until all are sent, at the most; those who have slots keep them."""


@pytest.mark.parametrize(
    "change", [_Change(10, 1, 0, 55), _Change(10, 1, 50, 105), _Change(1, 10, 300, 100)]
)
def test_another_rate_with_a_backlog(engine: Engine, change: _Change) -> None:
    """Lowered or raised after five seconds: the gate keeps it, and the time is used."""
    road = Road(engine, change.before)
    for _ in range(100):
        road.hand_in(0)
    road.go(until=5)
    sent = len(road.send_attempts)
    road.clock.seconds = 5
    road.limiter.set_rate(SENDER, change.after)
    for _ in range(change.new):
        road.hand_in(5)

    road.go()

    assert 100 + change.new == len(road.send_attempts)
    road.send_attempts = road.send_attempts[sent:]
    assert road.worst_second() <= 2 * change.after
    assert road.send_attempts[-1].at - 5 < change.takes
    newest = [post.at for post in road.send_attempts if post.message.born == 5]
    assert not newest or newest[-1] - 5 <= 1.1 * len(road.send_attempts) / change.after
