"""The breaker of a worker: what it counts in memory, and when that reaches the database."""

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import Engine, event, func, select, text

from signedfor.breaker import Breaker
from signedfor.breaker_limits import BreakerLimits, SenderCounts
from signedfor.contract import MessageReport, Outcome
from signedfor.contract.failures import FailureClass
from signedfor.prices import Prices
from signedfor.store.breakers import Breakers
from signedfor.store.database import DatabaseUnavailable, transaction
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.sender_results import COUNTED
from signedfor.store.tables import sender_results
from tests.signedfor.store.rate_limiter_simulation import SENDER, Clock
from tests.signedfor.test_breaker_limits import report

LIMITS = BreakerLimits(
    window=timedelta(minutes=15),
    min_messages=10,
    failed_percent=50,
    filtered_percent=None,
    spend_per_day=Decimal(10),
    currency="USD",
)
PRICES = Prices(by_country={"GB": Decimal("0.04")}, others=Decimal("0.01"))
SOON = timedelta(milliseconds=20)
FILTERED = report(Outcome.UNDELIVERED, FailureClass.CARRIER_FILTERED)


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until a test sets it."""
    return Clock()


@pytest.fixture
def limiter(engine: Engine, clock: Clock) -> RateLimiter:
    """The rate limiter, with one sender that was used."""
    limiter = RateLimiter(engine, now=clock)
    limiter.reserve(SENDER, 1, is_urgent=False)
    return limiter


@pytest.fixture
def breaker(engine: Engine, limiter: RateLimiter, clock: Clock) -> Breaker:
    """The breaker of a worker."""
    assert limiter.states()
    return Breaker(engine, LIMITS, PRICES, interval=SOON, now=clock)


def _ended_at(moment: datetime, *, submitted_at: datetime | None = None) -> MessageReport:
    update = {"finished_at": moment, "submitted_at": submitted_at}
    return FILTERED.model_copy(update=update)


def _counted(engine: Engine) -> SenderCounts:
    """The sum of all that the database has."""
    sums = [func.coalesce(func.sum(sender_results.c[name]), 0) for name in COUNTED]
    with transaction(engine, read_only=True) as connection:
        return SenderCounts(*map(int, connection.execute(select(*sums)).one()))


def test_counts_are_added_in_one_transaction(
    breaker: Breaker, engine: Engine, clock: Clock
) -> None:
    """From any thread, each exactly once; nothing is written for a message."""
    writes: list[str] = []

    def note(_c: object, _u: object, statement: str, *_: object) -> None:
        if statement.startswith(("INSERT", "UPDATE", "DELETE")):
            writes.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    with ThreadPoolExecutor(8) as threads:
        for _ in range(100):
            threads.submit(breaker.accepted, SENDER, "+447700900123", 2)
            threads.submit(breaker.ended, SENDER, report(Outcome.DELIVERED))
    assert [] == writes

    breaker.look()
    clock.seconds = 90
    breaker.accepted(SENDER, "+12125550100", 1)
    breaker.look()
    breaker.look()

    assert 2 == len(writes)
    assert SenderCounts(accepted=101, ended=100, spent_micros=8_010_000) == _counted(engine)


def test_threads_lose_no_count_of_each_other(
    breaker: Breaker, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if adding one takes a while."""
    add = SenderCounts.__add__

    def slowly(self: SenderCounts, other: SenderCounts) -> SenderCounts:
        time.sleep(0.001)
        return add(self, other)

    monkeypatch.setattr(SenderCounts, "__add__", slowly)
    with ThreadPoolExecutor(4) as threads:
        for _ in range(50):
            threads.submit(breaker.ended, SENDER, FILTERED)

    breaker.look()

    assert 50 == _counted(engine).ended


def test_what_could_not_be_added_is_added_later(breaker: Breaker, engine: Engine) -> None:
    """Nothing of it is lost or doubled, and what comes meanwhile counts too."""
    breaker.ended(SENDER, FILTERED)
    with transaction(engine) as connection:
        connection.execute(text("ALTER TABLE sender_results RENAME TO away"))
    with pytest.raises(DatabaseUnavailable):
        breaker.look()
    breaker.ended(SENDER, FILTERED)
    with transaction(engine) as connection:
        connection.execute(text("ALTER TABLE away RENAME TO sender_results"))

    breaker.look()
    breaker.look()

    assert SenderCounts(ended=2, failed=2, filtered=2) == _counted(engine)


def test_it_says_once_what_it_has_paused(
    breaker: Breaker, caplog: pytest.LogCaptureFixture, limiter: RateLimiter
) -> None:
    """As an error, with the masked sender, the counts and what to do."""
    for _ in range(10):
        breaker.ended(SENDER, FILTERED)
    breaker.look()
    breaker.look()

    (line,) = [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]
    assert (
        "The breaker has paused the sender +1500***0006: 100 % of 10 messages failed within 15 "
        "minutes; the limit is 50 %. Its messages wait until you resume it: docs/how-to/breaker.md"
    ) == line
    assert limiter.is_paused(SENDER)


def test_receipts_of_what_was_sent_before_a_resume_do_not_count(
    breaker: Breaker, engine: Engine, limiter: RateLimiter, clock: Clock
) -> None:
    """They come long after it. What is submitted after it counts, and what is refused after it."""
    before = clock()
    clock.seconds = 600
    limiter.resume(SENDER)
    breaker.look()
    clock.seconds = 1200
    for _ in range(10):
        breaker.ended(SENDER, _ended_at(clock(), submitted_at=before))
    breaker.look()
    assert SenderCounts() == _counted(engine)
    assert not limiter.is_paused(SENDER)

    breaker.ended(SENDER, _ended_at(clock()))
    breaker.ended(SENDER, _ended_at(clock(), submitted_at=clock()))
    breaker.look()
    assert 2 == _counted(engine).failed


async def test_while_it_runs_it_looks_again_and_again(
    breaker: Breaker, limiter: RateLimiter
) -> None:
    """Nobody has to ask."""
    async with breaker.running(), asyncio.timeout(30):
        for _ in range(10):
            breaker.ended(SENDER, FILTERED)
        while not limiter.is_paused(SENDER):  # noqa: ASYNC110 - a database
            await asyncio.sleep(0.02)


async def test_at_its_end_it_adds_what_is_left(
    engine: Engine, limiter: RateLimiter, clock: Clock
) -> None:
    """A worker that stops in order loses nothing."""
    breaker = Breaker(engine, LIMITS, None, now=clock)
    async with breaker.running():
        breaker.ended(SENDER, FILTERED)
    assert not limiter.is_paused(SENDER)

    assert SenderCounts(ended=1, failed=1, filtered=1) == _counted(engine)


async def test_a_new_worker_knows_of_earlier_resumes(
    engine: Engine, limiter: RateLimiter, clock: Clock
) -> None:
    """From its first message on."""
    before = clock()
    clock.seconds = 600
    limiter.resume(SENDER)
    clock.seconds = 1200
    breaker = Breaker(engine, LIMITS, None, now=clock)

    async with breaker.running():
        breaker.ended(SENDER, _ended_at(clock(), submitted_at=before))

    assert SenderCounts() == _counted(engine)


async def test_it_outlives_an_outage(
    breaker: Breaker, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """It says so in a line, and goes on."""
    with transaction(engine) as connection:
        connection.execute(text("ALTER TABLE sender_results RENAME TO away"))
    async with breaker.running(), asyncio.timeout(30):
        breaker.ended(SENDER, FILTERED)
        while "counted later" not in caplog.text:  # noqa: ASYNC110 - a log
            await asyncio.sleep(0.02)
        with transaction(engine) as connection:
            connection.execute(text("ALTER TABLE away RENAME TO sender_results"))
        while _counted(engine) != SenderCounts(ended=1, failed=1, filtered=1):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_without_limits_nothing_is_counted(engine: Engine, clock: Clock) -> None:
    """And the database is not asked."""
    limits = replace(LIMITS, failed_percent=None, spend_per_day=None)
    breaker = Breaker(engine, limits, None, interval=SOON, now=clock)
    statements: list[object] = []
    event.listen(engine, "before_cursor_execute", lambda *each: statements.append(each))

    async with breaker.running():
        breaker.ended(SENDER, FILTERED)
        breaker.accepted(SENDER, "+12125550100", 1)
        await asyncio.sleep(3 * SOON.total_seconds())

    assert [] == statements


def test_two_workers_add_up(breaker: Breaker, engine: Engine, clock: Clock) -> None:
    """Half of the failures are in each."""
    other = Breaker(engine, LIMITS, PRICES, now=clock)
    for each in (breaker, other):
        for _ in range(5):
            each.ended(SENDER, FILTERED)
        each.look()

    assert "100 % of 10" in Breakers(engine).open_breakers()[0].because


def test_a_message_without_a_sender_does_not_count(breaker: Breaker, engine: Engine) -> None:
    """It was not tried."""
    breaker.ended(None, FILTERED)
    breaker.look()

    assert SenderCounts() == _counted(engine)
