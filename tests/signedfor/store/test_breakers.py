"""The breakers on both databases: what opens one, and what only an operator's resume closes."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from threading import Barrier

import pytest
from sqlalchemy import Engine, update

from signedfor.breaker_limits import BreakerLimits, BreakerReason, SenderCounts
from signedfor.store.audit_log import AuditLog
from signedfor.store.breakers import Breakers, OpenBreaker
from signedfor.store.database import transaction
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.sender_results import SenderResults, minute_of
from signedfor.store.tables import senders
from tests.signedfor.store.rate_limiter_simulation import SENDER, Clock

OTHER = "+15005550007"
LIMITS = BreakerLimits(
    window=timedelta(minutes=15),
    min_messages=100,
    failed_percent=50,
    filtered_percent=25,
    spend_per_day=Decimal(10),
    currency="USD",
)
FAILING = SenderCounts(accepted=100, ended=100, failed=60)
MINUTE = 60.0

Count = Callable[..., None]


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until a test sets it."""
    return Clock()


@pytest.fixture
def limiter(engine: Engine, clock: Clock) -> RateLimiter:
    """A rate limiter with two senders that were used."""
    limiter = RateLimiter(engine, now=clock)
    for sender in (SENDER, OTHER):
        limiter.reserve(sender, 1, is_urgent=False)
    return limiter


@pytest.fixture
def breakers(engine: Engine, clock: Clock, limiter: RateLimiter) -> Breakers:
    """All breakers, which are closed at first."""
    assert 2 == len(limiter.states())
    return Breakers(engine, now=clock)


@pytest.fixture
def count(engine: Engine, clock: Clock) -> Count:
    """Counts something for a sender now."""

    def count(counts: SenderCounts, sender: str = SENDER) -> None:
        SenderResults(engine).add({(sender, minute_of(clock())): counts})

    return count


def _paused(limiter: RateLimiter) -> list[str]:
    return [each.sender for each in limiter.states() if each.is_paused]


def test_a_sender_that_fails_is_paused(
    breakers: Breakers, count: Count, limiter: RateLimiter, clock: Clock, engine: Engine
) -> None:
    """It alone, with the reason in its breaker and in the audit log; once."""
    count(FAILING)
    count(replace(FAILING, failed=49), OTHER)

    (opened,) = breakers.open_reached(LIMITS)

    because = "60 % of 100 messages failed within 15 minutes; the limit is 50 %."
    assert opened == OpenBreaker(
        sender=SENDER, reason=BreakerReason.FAILED, opened_at=clock(), because=because
    )
    assert [opened] == breakers.open_breakers()
    assert [SENDER] == _paused(limiter)
    (entry,) = AuditLog(engine).entries()
    assert ("breaker", "sender.pause", "+1500***0006", because) == (
        entry.who,
        entry.action,
        entry.subject,
        entry.why,
    )
    assert [] == breakers.open_reached(LIMITS)


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        (SenderCounts(ended=100, failed=50), BreakerReason.FAILED),
        (SenderCounts(ended=100, failed=49), None),
        (SenderCounts(ended=99, failed=99), None),
        (SenderCounts(ended=100, failed=25, filtered=25), BreakerReason.FILTERED),
        (SenderCounts(ended=100, failed=24, filtered=24), None),
        (SenderCounts(ended=100, failed=60, filtered=30), BreakerReason.FILTERED),
        (SenderCounts(accepted=3, spent_micros=10_000_000), BreakerReason.SPEND),
        (SenderCounts(accepted=3, spent_micros=9_999_999), None),
    ],
)
def test_limits(
    counts: SenderCounts, reason: BreakerReason | None, breakers: Breakers, count: Count
) -> None:
    """Each is reached, not only exceeded; shares are taken of enough messages only."""
    count(counts)

    assert [reason] * (reason is not None) == [
        each.reason for each in breakers.open_reached(LIMITS)
    ]


@pytest.mark.parametrize(
    ("limits", "counts"),
    [
        (replace(LIMITS, failed_percent=None), SenderCounts(ended=100, failed=100)),
        (replace(LIMITS, filtered_percent=None), SenderCounts(ended=100, failed=30, filtered=30)),
        (replace(LIMITS, spend_per_day=None), SenderCounts(spent_micros=10**12)),
    ],
)
def test_a_limit_that_is_off(
    limits: BreakerLimits, counts: SenderCounts, breakers: Breakers, count: Count
) -> None:
    """Nothing reaches it."""
    count(counts)

    assert [] == breakers.open_reached(limits)
    assert breakers.open_reached(LIMITS)


def test_minutes_and_workers_add_up(breakers: Breakers, count: Count, clock: Clock) -> None:
    """Whoever has counted, in whichever minute of the window."""
    for _ in range(4):
        count(SenderCounts(ended=25, failed=15))
        assert [] == breakers.open_reached(replace(LIMITS, min_messages=101))
        clock.seconds += 3 * MINUTE

    clock.seconds -= 3 * MINUTE
    assert "60 % of 100" in breakers.open_reached(LIMITS)[0].because


def test_failures_before_the_window_do_not_count(
    breakers: Breakers, count: Count, clock: Clock
) -> None:
    """But what was spent does, for a day."""
    count(replace(FAILING, spent_micros=6_000_000))
    clock.seconds += 17 * MINUTE
    count(SenderCounts(ended=1, spent_micros=3_000_000))
    assert [] == breakers.open_reached(LIMITS)

    clock.seconds += 23 * 60 * MINUTE
    count(SenderCounts(accepted=1, spent_micros=1_000_000))
    (opened,) = breakers.open_reached(LIMITS)
    assert "101 messages cost 10.00 USD within 24 hours; the limit is 10 USD." == opened.because


def test_what_was_spent_a_day_ago_does_not_count(
    breakers: Breakers, count: Count, clock: Clock
) -> None:
    """Each day has its own money."""
    count(SenderCounts(accepted=1, spent_micros=6_000_000))
    clock.seconds += 24 * 60 * MINUTE + MINUTE
    count(SenderCounts(accepted=1, spent_micros=6_000_000))

    assert [] == breakers.open_reached(LIMITS)


def test_after_a_resume_old_counts_do_not_pause_it_again(
    breakers: Breakers, count: Count, limiter: RateLimiter, clock: Clock
) -> None:
    """Only what is counted from then on does, and the breaker is closed meanwhile."""
    count(FAILING)
    breakers.open_reached(LIMITS)
    clock.seconds += 2 * MINUTE
    count(FAILING)

    limiter.resume(SENDER)

    assert [] == breakers.open_breakers()
    assert [] == _paused(limiter)
    assert {SENDER: clock()} == breakers.counts_from()
    assert [] == breakers.open_reached(LIMITS)
    clock.seconds += MINUTE
    count(SenderCounts(ended=99, failed=99))
    assert [] == breakers.open_reached(LIMITS)
    count(SenderCounts(ended=1))
    assert "99 % of 100" in breakers.open_reached(LIMITS)[0].because


def test_an_operators_own_pause_stays(
    breakers: Breakers, count: Count, limiter: RateLimiter
) -> None:
    """It is neither overwritten nor explained by the breaker."""
    limiter.pause(SENDER)
    count(FAILING)

    assert [] == breakers.open_reached(LIMITS)
    assert [] == breakers.open_breakers()
    assert [SENDER] == _paused(limiter)


def test_the_breaker_never_resumes(
    breakers: Breakers, count: Count, limiter: RateLimiter, clock: Clock
) -> None:
    """However long ago the failures are, and however well others do."""
    count(FAILING)
    breakers.open_reached(LIMITS)
    clock.seconds += 48 * 60 * MINUTE
    count(SenderCounts(ended=1000))

    assert [] == breakers.open_reached(LIMITS)
    assert [SENDER] == _paused(limiter)
    assert 1 == len(breakers.open_breakers())


def test_a_resume_by_an_older_version_closes_it(
    breakers: Breakers, count: Count, clock: Clock, engine: Engine
) -> None:
    """That version knows no breaker: what was counted before does not pause the sender again."""
    count(FAILING)
    breakers.open_reached(LIMITS)
    with transaction(engine) as connection:
        connection.execute(update(senders).values(is_paused=False))

    assert [] == breakers.open_breakers()
    assert [] == breakers.open_reached(LIMITS)
    assert {SENDER: clock()} == breakers.counts_from()
    assert [] == breakers.open_reached(LIMITS)


def test_workers_at_once_pause_it_once(
    engine: Engine, breakers: Breakers, count: Count, clock: Clock
) -> None:
    """Only one of them reports it, and the audit log has one entry."""
    count(FAILING)
    barrier = Barrier(4)

    def look(_: int) -> list[OpenBreaker]:
        barrier.wait()
        return Breakers(engine, now=clock).open_reached(LIMITS)

    with ThreadPoolExecutor(4) as threads:
        opened = [each for found in threads.map(look, range(4)) for each in found]

    assert breakers.open_breakers() == opened
    assert 1 == len(AuditLog(engine).entries()) == len(opened)


def test_a_resume_between_the_look_and_the_pause_counts(
    engine: Engine, count: Count, limiter: RateLimiter, clock: Clock
) -> None:
    """The transaction that pauses counts again, so that it does not pause by what was lifted."""
    count(FAILING)

    class Late(Breakers):
        def _open(self, sender: str, limits: BreakerLimits, now: datetime) -> OpenBreaker | None:
            limiter.pause(sender)
            limiter.resume(sender)
            return super()._open(sender, limits, now)

    assert [] == Late(engine, now=clock).open_reached(LIMITS)
    assert [] == _paused(limiter)


def test_an_operators_pause_between_the_look_and_the_pause_stays(
    engine: Engine, count: Count, limiter: RateLimiter, clock: Clock
) -> None:
    """It is not taken for the breaker's."""
    count(FAILING)

    class Late(Breakers):
        def _open(self, sender: str, limits: BreakerLimits, now: datetime) -> OpenBreaker | None:
            limiter.pause(sender)
            return super()._open(sender, limits, now)

    late = Late(engine, now=clock)
    assert [] == late.open_reached(LIMITS)
    assert [] == late.open_breakers()
    assert [] == AuditLog(engine).entries()


def test_a_resume_by_an_older_version_between_the_look_and_the_pause(
    engine: Engine, count: Count, limiter: RateLimiter, clock: Clock
) -> None:
    """Another worker has paused it meanwhile, and somebody has resumed it."""
    count(FAILING)

    class Late(Breakers):
        def _open(self, sender: str, limits: BreakerLimits, now: datetime) -> OpenBreaker | None:
            assert Breakers(engine, now=clock).open_reached(limits)
            with transaction(engine) as connection:
                connection.execute(update(senders).values(is_paused=False))
            return super()._open(sender, limits, now)

    assert [] == Late(engine, now=clock).open_reached(LIMITS)
    assert [] == _paused(limiter)


def test_old_counts_are_purged(engine: Engine, count: Count, clock: Clock) -> None:
    """Those of other minutes stay."""
    count(FAILING)
    clock.seconds += 5 * MINUTE
    count(FAILING)

    assert 1 == SenderResults(engine).purge(before=clock() - timedelta(minutes=2))
    assert 0 == SenderResults(engine).purge(before=clock() - timedelta(minutes=2))
