"""The rate limiter under backlogs, bursts and outages, on both databases, in simulated time."""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine

from signedfor.store.rate_limiter import always
from tests.signedfor.store.rate_limiter_simulation import SENDER, START, Simulation, random_delay


@pytest.mark.parametrize(
    ("rate", "lengths", "messages", "urgent_every"),
    [(10, (1, 2, 3), 400, 0.5), (50, (1,), 1000, 0.1), (1, (1, 10), 60, 30)],
)
def test_a_backlog_with_urgent_messages(
    engine: Engine, rate: int, lengths: tuple[int, ...], messages: int, urgent_every: float
) -> None:
    """The rate is used but not exceeded, and urgent messages are sent soon."""
    rng = random.Random(7)  # noqa: S311 - a simulation
    simulation = Simulation(engine, rate, delay=random_delay(7))
    segments = [rng.choice(lengths) for _ in range(messages)]
    for each in segments:
        simulation.add(0, each)
    at = 2.0
    while at < 0.9 * sum(segments) / rate:
        simulation.add(at, is_urgent=True)
        at += urgent_every

    simulation.run()

    # From the second message on: the first is sent at once, the others when their timers fire.
    assert simulation.used(since=0.001) >= 0.98
    longest = max(lengths)
    assert simulation.worst_second() <= max(2 * rate, rate + longest)
    waits = simulation.waits(urgent=True)
    # An urgent message may have to wait for a long message that was sent just before it.
    assert waits[int(0.99 * len(waits))] < max(2, longest / rate)


@pytest.mark.parametrize(("rate", "lengths"), [(10, (1, 2, 3)), (50, (1,)), (1, (1,))])
def test_messages_that_arrive_one_by_one(
    engine: Engine, rate: int, lengths: tuple[int, ...]
) -> None:
    """At most of the rate most are sent at once, none waits long, and the rate is kept."""
    rng = random.Random(11)  # noqa: S311 - a simulation
    simulation = Simulation(engine, rate, delay=random_delay(11))
    at = 0.0
    for _ in range(300):
        segments = rng.choice(lengths)
        simulation.add(at, segments, is_urgent=rng.random() < 0.1)
        at += rng.expovariate(0.5 * rate / (sum(lengths) / len(lengths)))

    simulation.run()

    assert 300 == len(simulation.posts)
    at_once = [post for post in simulation.posts if not post.waited]
    assert len(at_once) > 150 - 300 * 0.1
    assert simulation.worst_second() <= max(2 * rate, rate + max(lengths))
    longest = max(*simulation.waits(urgent=False), *simulation.waits(urgent=True))
    assert longest < 10 * max(lengths) / rate + 2


@pytest.mark.parametrize("others", [0, 60])
def test_urgent_messages_that_always_come_late(engine: Engine, others: int) -> None:
    """They miss their reserved time by seconds every time, but are sent and block no others."""
    simulation = Simulation(engine, 1, delay=lambda: 2.5)
    for _ in range(5):
        simulation.add(0, is_urgent=True)
    for _ in range(others):
        simulation.add(0)

    simulation.run(until=90)

    assert 5 + others == len(simulation.posts)
    assert simulation.waits(urgent=True)[-1] < 10


@pytest.mark.parametrize("skew", [-0.5, -0.15, 0.15, 0.5])
def test_workers_whose_clocks_are_off(engine: Engine, skew: float) -> None:
    """With clocks half a second off Temporal's, the rate is not exceeded and little of it lost."""
    simulation = Simulation(engine, 10, delay=random_delay(3, 0.1), skew=lambda: skew)
    for _ in range(300):
        simulation.add(0)
    for number in range(40):
        simulation.add(1 + number / 2, is_urgent=True)

    simulation.run()

    assert simulation.used() >= 0.97
    assert simulation.worst_second() <= 20
    assert simulation.waits(urgent=True)[-1] < 2
    assert simulation.checks < 2 * len(simulation.posts), (
        "messages are not deferred again and again"
    )


def test_workers_whose_clocks_differ(engine: Engine) -> None:
    """Each may be up to 0.15 s ahead or behind."""
    rng = random.Random(5)  # noqa: S311 - a simulation
    simulation = Simulation(
        engine, 10, delay=random_delay(3, 0.1), skew=lambda: rng.uniform(-0.15, 0.15)
    )
    for _ in range(300):
        simulation.add(0)

    simulation.run()

    assert simulation.used() >= 0.97
    assert simulation.worst_second() <= 20


@pytest.mark.parametrize("others", [0, 100])
def test_a_stall_among_urgent_messages(engine: Engine, others: int) -> None:
    """The messages that became due during the stall are not sent all at once."""
    simulation = Simulation(engine, 10, stall=(3.0, 4.9))
    for _ in range(100):
        simulation.add(0, is_urgent=True)
    for _ in range(others):
        simulation.add(0)

    simulation.run()

    assert 100 + others == len(simulation.posts)
    assert simulation.worst_second() <= 20
    assert simulation.waits(urgent=True)[-1] < 12, "urgent messages do not wait for the others"


@pytest.mark.parametrize("segments", [1, 3])
def test_many_retries_after_a_database_outage(engine: Engine, segments: int) -> None:
    """Retries are sent before newer messages, and urgent messages are hardly delayed."""
    rng = random.Random(1)  # noqa: S311 - a simulation
    simulation = Simulation(engine, 1, delay=random_delay(2, 0.1))
    for _ in range(150):
        simulation.retry(120 * rng.random(), segments)
    for _ in range(50):
        simulation.add(0)
    for number in range(30):
        simulation.add(1 + 10 * number, is_urgent=True)

    simulation.run()

    assert 230 == len(simulation.posts)
    assert simulation.waits(urgent=True)[-1] < 2 + segments
    assert simulation.used(until=150 * segments + 50) >= 0.98
    retried = [post.at for post in simulation.posts if post.message.is_retry]
    assert retried[-1] < 1.1 * (150 * segments + 30)


def test_a_backlog_that_expires(engine: Engine) -> None:
    """Ten urgent messages make at most ten others expire, not each that they delay."""

    def in_time(at: datetime) -> bool:
        return at < START + timedelta(seconds=203)

    simulation = Simulation(engine, 1)
    for _ in range(200):
        simulation.add(0, fits=in_time)
    for _ in range(200):
        simulation.add(0)
    for number in range(10):
        simulation.add(5 + 10 * number, is_urgent=True)

    simulation.run()

    assert 0 < len(simulation.expired) <= 10
    assert simulation.used() >= 0.98
    assert simulation.checks < 3 * len(simulation.posts)


def test_a_message_that_would_expire_at_the_end_of_the_queue(engine: Engine) -> None:
    """It is deferred in the middle of a long backlog, and still sent in time."""
    simulation = Simulation(engine, 1)
    for number in range(200):
        simulation.add(
            0, fits=(lambda at: at < START + timedelta(seconds=60)) if number == 50 else always
        )
    for _ in range(5):
        simulation.add(49, is_urgent=True)

    simulation.run()

    assert not simulation.expired
    assert 205 == len(simulation.posts)


@dataclass(frozen=True)
class _Change:
    before: float
    after: float
    new: int
    """How many messages are added after the change, when 100 are waiting already."""
    max_seconds: float
    """The maximum time until all are sent; reservations are kept."""


@pytest.mark.parametrize(
    "change", [_Change(10, 1, 0, 55), _Change(10, 1, 50, 105), _Change(1, 10, 300, 100)]
)
def test_a_changed_rate_applies_to_the_backlog(engine: Engine, change: _Change) -> None:
    """The rate is lowered or raised after five seconds; it is used but not exceeded."""
    simulation = Simulation(engine, change.before)
    for _ in range(100):
        simulation.add(0)
    simulation.run(until=5)
    sent = len(simulation.posts)
    simulation.clock.seconds = 5
    simulation.limiter.set_rate(SENDER, change.after)
    for _ in range(change.new):
        simulation.add(5)

    simulation.run()

    assert 100 + change.new == len(simulation.posts)
    simulation.posts = simulation.posts[sent:]
    assert simulation.worst_second() <= 2 * change.after
    assert simulation.posts[-1].at - 5 < change.max_seconds
    newest = [post.at for post in simulation.posts if post.message.first_at == 5]
    assert not newest or newest[-1] - 5 <= 1.1 * len(simulation.posts) / change.after
