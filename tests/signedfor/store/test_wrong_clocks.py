"""What a writer whose clock is far ahead leaves behind, for those whose clocks are right."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from signedfor.contract import MessageRequest
from signedfor.store.account_hold import TRY_INTERVAL, AccountHold
from signedfor.store.claim_statements import Blocked
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.rate_limiter_statements import (
    MAX_AHEAD,
    MAX_SEGMENTS,
    URGENT_BURST_TOLERANCE,
)
from signedfor.store.send_attempts import Claimed, NotBefore, SendAttempts
from signedfor.twilio.rates import SenderKind
from tests.signedfor.store.rate_limiter_simulation import SENDER, START, Clock, Simulation

RATE = 2
HOUR = 3600.0
MAX_WAIT = MAX_AHEAD + URGENT_BURST_TOLERANCE + MAX_SEGMENTS / RATE
"""How far ahead a sender may be busy at all."""
MESSAGE = MessageRequest(to="+15558675309", body="Your parcel is at the door.")


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until a test sets it."""
    return Clock()


@pytest.fixture
def limiter(engine: Engine, clock: Clock) -> RateLimiter:
    """A rate limiter with two segments per second for a long code."""
    return RateLimiter(engine, rates={SenderKind.LONG_CODE: RATE}, now=clock)


def _reserve(limiter: RateLimiter, *, is_urgent: bool = False) -> None:
    limiter.reserve(SENDER, 1, is_urgent=is_urgent)


_WRITES: dict[str, Callable[[RateLimiter], object]] = {
    "a send at an idle sender": lambda limiter: limiter.acquire(SENDER, 1, is_reserved=False),
    "a send at its time": lambda limiter: limiter.acquire(SENDER, 1),
    "an urgent send": lambda limiter: limiter.acquire(SENDER, 1, is_urgent=True, is_reserved=False),
    "a retry": lambda limiter: limiter.acquire(SENDER, 1, is_retry=True),
    "a reservation": _reserve,
    "an urgent reservation": lambda limiter: _reserve(limiter, is_urgent=True),
    "a new rate": lambda limiter: limiter.set_rate(SENDER, 100.0),
}


@pytest.mark.parametrize("is_known", [False, True], ids=["new sender", "known sender"])
@pytest.mark.parametrize("write", _WRITES.values(), ids=_WRITES.keys())
def test_a_writer_an_hour_ahead_blocks_no_sender(
    engine: Engine, write: Callable[[RateLimiter], object], is_known: bool
) -> None:
    """The next messages are sent within the time of the longest message, and at the rate."""
    simulation = Simulation(engine, RATE)
    if is_known:
        simulation.limiter.acquire(SENDER, 1, is_reserved=False)
    simulation.clock.seconds, simulation.clock.skew = 60, HOUR
    write(simulation.limiter)
    simulation.clock.skew = 0
    simulation.limiter.set_rate(SENDER, None)
    for number in range(20):
        simulation.add(60, is_urgent=number == 10)

    simulation.run()

    assert 20 == len(simulation.posts)
    assert simulation.posts[0].at <= 60 + MAX_WAIT + 1
    assert simulation.posts[-1].at <= 60 + MAX_WAIT + 1 + 20 / RATE
    assert simulation.worst_second() <= 2 * RATE


def test_its_own_messages_keep_their_place(limiter: RateLimiter, clock: Clock) -> None:
    """What it reserved is counted from the time of the next writer on."""
    clock.skew = HOUR
    for _ in range(3):
        limiter.reserve(SENDER, 2, is_urgent=False)
    clock.skew = 0

    assert timedelta(seconds=3) == limiter.backlog(SENDER)
    assert 3 == clock.at(limiter.reserve(SENDER, 1, is_urgent=False))
    assert 3.5 == clock.at(limiter.reserve(SENDER, 1, is_urgent=False))


@pytest.mark.parametrize("is_wrong", [False, True], ids=["right clocks", "one clock ahead"])
def test_a_backlog_of_hours_is_kept(limiter: RateLimiter, clock: Clock, is_wrong: bool) -> None:
    """It is far ahead because of what is reserved, whoever adds to it, and however often."""
    hours = 3 * HOUR
    limiter.reserve(SENDER, int(hours * RATE), is_urgent=False)
    clock.skew = HOUR if is_wrong else 0.0
    limiter.reserve(SENDER, 1, is_urgent=False)
    clock.skew = 0
    clock.seconds = 60

    assert hours + 0.5 == clock.at(limiter.reserve(SENDER, 1, is_urgent=False))
    assert timedelta(seconds=hours + 1 - 60) == limiter.backlog(SENDER)


def test_a_backlog_behind_one_of_higher_priority_is_kept(
    limiter: RateLimiter, clock: Clock
) -> None:
    """It begins far ahead, where the urgent messages end, though it is short."""
    limiter.reserve(SENDER, int(HOUR * RATE), is_urgent=True)
    limiter.reserve(SENDER, 1, is_urgent=False)

    assert HOUR + 0.5 == clock.at(limiter.reserve(SENDER, 1, is_urgent=False))


def test_the_backlog_that_is_shown_is_the_explained_one(limiter: RateLimiter, clock: Clock) -> None:
    """Campaigns dispatch by it: they would stop for an hour, and correct nothing."""
    clock.skew = HOUR
    limiter.reserve(SENDER, 4, is_urgent=False)
    limiter.reserve(SENDER, 2, is_urgent=True)
    clock.skew = 0

    [state] = limiter.states()

    assert (timedelta(seconds=2), 2) == (state.backlog, state.urgent_segments)
    assert timedelta(seconds=2) == limiter.backlog(SENDER)


def test_a_new_rate_from_a_clock_ahead_moves_nothing_into_the_future(
    limiter: RateLimiter, clock: Clock
) -> None:
    """The times that have passed by that clock are not ahead, so no rate shortens them."""
    limiter.reserve(SENDER, 20, is_urgent=False)
    clock.skew = HOUR
    limiter.set_rate(SENDER, 20.0)
    clock.skew = 0

    assert 10 == clock.at(limiter.reserve(SENDER, 1, is_urgent=False))


def test_the_account_is_not_blocked_either(engine: Engine, clock: Clock) -> None:
    """Its limit has a row of the same kind."""
    rates = dict.fromkeys(SenderKind, 1e9)
    limiter = RateLimiter(engine, rates=rates, account_rate=10.0, now=clock)
    attempts = SendAttempts(engine, limiter, now=clock)
    clock.skew = HOUR
    assert isinstance(attempts.claim("m-1", MESSAGE, sender=SENDER), Claimed)
    clock.skew = 0

    claim = attempts.claim("m-2", MESSAGE, sender=SENDER)
    waits = []
    while isinstance(claim, NotBefore):
        waits.append(claim.by_account)
        clock.seconds = (claim.moment - START).total_seconds() + 0.1
        claim = attempts.claim(
            "m-2",
            MESSAGE,
            sender=SENDER,
            is_reserved=True,
            is_reserved_by_account=claim.by_account,
        )

    assert isinstance(claim, Claimed)
    assert [False, True] == waits
    # Once for the sender, which sends any message in no time here, and once for the account.
    assert clock.seconds <= 2 * (MAX_AHEAD + URGENT_BURST_TOLERANCE + 0.1) + MAX_SEGMENTS / 10


def test_a_hold_that_a_clock_ahead_has_prolonged(engine: Engine, clock: Clock) -> None:
    """A message is tried as if no try were set; the next one waits as usual."""
    hold = AccountHold(engine, now=clock)
    limiter = RateLimiter(engine, rates=dict.fromkeys(SenderKind, 1e9), now=clock)
    attempts = SendAttempts(engine, limiter, now=clock)
    clock.skew = HOUR
    hold.begin(20003)
    clock.skew = 0
    found = hold.find()
    assert found is not None
    assert found.is_due(clock())

    results = [attempts.claim(f"m-{number}", MESSAGE, sender=SENDER) for number in (1, 2)]

    assert [Claimed(1, is_account_try=True), Blocked.ACCOUNT_HELD] == results
    found = hold.find()
    assert found is not None
    assert (clock() + TRY_INTERVAL, False) == (found.next_try_at, found.is_due(clock()))
