"""The account-wide limit: over all senders and workers, on both databases."""

import itertools
import random
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush

import pytest
from sqlalchemy import Engine

from signedfor.consent import Reason, Source, Suppression
from signedfor.contract import MessageRequest, Priority
from signedfor.store.claim_statements import Blocked
from signedfor.store.rate_limiter import Fits, RateLimiter, always
from signedfor.store.rate_limiter_statements import BURST_TOLERANCE, URGENT_BURST_TOLERANCE
from signedfor.store.send_attempts import Claimed, NotBefore, NotClaimed, SendAttempts
from signedfor.store.suppressions import Suppressions
from signedfor.twilio.rates import SenderKind
from tests.signedfor.store.rate_limiter_simulation import SENDER, START, Clock, random_delay

MESSAGE = MessageRequest(to="+15558675309", body="Your parcel is at the door.")
URGENT = MESSAGE.model_copy(update={"priority": Priority.URGENT})
OTHER = "+15005550007"


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until a test sets it."""
    return Clock()


class Claims:
    """Claims messages, each under an ID of its own, as a worker would."""

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        *,
        account_rate: float | None = 1,
        rate: float = 100_000.0,
    ) -> None:
        self.limiter = RateLimiter(
            engine, rates=dict.fromkeys(SenderKind, rate), account_rate=account_rate, now=clock
        )
        self._attempts = SendAttempts(engine, self.limiter, now=clock)

    def claim(
        self,
        sender: str = SENDER,
        message: MessageRequest = MESSAGE,
        *,
        is_reserved: bool = False,
        is_reserved_by_account: bool = False,
        fits: Fits = always,
    ) -> Claimed | NotClaimed:
        """Claim a new message."""
        return self._attempts.claim(
            uuid.uuid4().hex,
            message,
            sender=sender,
            is_reserved=is_reserved,
            is_reserved_by_account=is_reserved_by_account,
            fits=fits,
        )


def _at(clock: Clock, claim: object) -> tuple[float | None, bool]:
    """When to try again, and whether the account says so."""
    assert isinstance(claim, NotBefore)
    return clock.at(claim.moment), claim.by_account


def test_without_a_limit_senders_do_not_wait_for_one_another(engine: Engine, clock: Clock) -> None:
    """There is none by default, and no row for it."""
    claims = Claims(engine, clock, account_rate=None)

    assert [Claimed()] * 20 == [claims.claim(f"+150055501{n:02}") for n in range(20)]


def test_messages_of_different_senders_pass_one_after_another(engine: Engine, clock: Clock) -> None:
    """Those that are too early get a reservation by the account, at which they pass."""
    claims = Claims(engine, clock, account_rate=2)

    results = [claims.claim(f"+150055501{n:02}") for n in range(4)]

    assert Claimed() == results[0]
    assert [(0.5, True), (1, True), (1.5, True)] == [_at(clock, each) for each in results[1:]]
    for n, clock.seconds in enumerate((0.5, 1, 1.5)):
        sender = f"+150055501{n + 1:02}"
        assert Claimed() == claims.claim(sender, is_reserved_by_account=True)
    assert (2, True) == _at(clock, claims.claim("+15005550199"))


def test_the_limit_counts_messages_not_segments(engine: Engine, clock: Clock) -> None:
    """It is of POSTs: the segments are counted at the sender."""
    claims = Claims(engine, clock, account_rate=2)
    claims._attempts.claim("long", MESSAGE, sender=SENDER, segments=10)
    clock.seconds = 0.5

    assert Claimed() == claims.claim(OTHER)


def test_urgent_messages_do_not_queue_at_the_account(engine: Engine, clock: Clock) -> None:
    """The reservations of others do not hold them up, only the rate does."""
    claims = Claims(engine, clock, account_rate=2)
    for _ in range(10):
        claims.claim()

    assert Claimed() == claims.claim(OTHER, URGENT)
    assert (0.5, True) == _at(clock, claims.claim("+15005550008", URGENT))


@pytest.mark.parametrize("message", [MESSAGE, URGENT])
@pytest.mark.parametrize("is_reserved_by_account", [False, True])
def test_a_message_whose_sender_is_busy_gives_the_accounts_share_back(
    engine: Engine, clock: Clock, message: MessageRequest, is_reserved_by_account: bool
) -> None:
    """Other senders' messages are sent in its place at once, with or without a reservation."""
    claims = Claims(engine, clock, rate=0.01)
    assert Claimed() == claims.claim(message=message)
    for clock.seconds, is_reserved in ((10.0, False), (20.0, True)):
        sender = f"+1500555020{clock.seconds:.0f}"

        for _ in range(3):
            busy = claims.claim(message=message, is_reserved_by_account=is_reserved_by_account)
            assert isinstance(busy, NotBefore)
            assert not busy.by_account

        assert Claimed() == claims.claim(sender, message, is_reserved_by_account=is_reserved)


def test_a_slow_sender_does_not_delay_the_others(engine: Engine, clock: Clock) -> None:
    """What waits for its sender has taken no time of the account."""
    claims = Claims(engine, clock, account_rate=10, rate=1)
    waiting = [claims.claim() for _ in range(100)]

    assert [False] * 99 == [_at(clock, each)[1] for each in waiting[1:]]
    clock.seconds = 0.2
    assert Claimed() == claims.claim(OTHER)


def test_a_message_that_the_account_defers_keeps_its_turn_at_its_sender(
    engine: Engine, clock: Clock
) -> None:
    """It passes both at the time that the account has reserved, before others of its sender."""
    claims = Claims(engine, clock, account_rate=0.5, rate=1)
    assert Claimed() == claims.claim(OTHER)
    deferred = claims.claim()
    assert (2, True) == _at(clock, deferred)
    assert isinstance(claims.claim(), NotBefore)

    clock.seconds = 2

    assert Claimed() == claims.claim(is_reserved=True, is_reserved_by_account=True)


def test_a_message_that_may_not_be_sent_uses_nothing_of_the_accounts_rate(
    engine: Engine, clock: Clock
) -> None:
    """The recipient has opted out, or its sender is paused."""
    claims = Claims(engine, clock)
    Suppressions(engine).record(
        Suppression(recipient=MESSAGE.to, reason=Reason.OPTED_OUT, source=Source.INBOUND),
        by="test",
    )
    claims.limiter.pause(OTHER)
    to_another = MESSAGE.model_copy(update={"to": "+15558675308"})

    blocked = [claims.claim(), claims.claim(OTHER, to_another), claims.claim()]

    assert [Blocked.SUPPRESSED, Blocked.PAUSED, Blocked.SUPPRESSED] == blocked
    assert Claimed() == claims.claim(SENDER, to_another)


def test_a_time_that_does_not_fit_is_not_reserved_at_the_account(
    engine: Engine, clock: Clock
) -> None:
    """It is left for the next message."""
    claims = Claims(engine, clock)
    claims.claim()

    refused = [claims.claim(OTHER, fits=lambda _: False) for _ in range(2)]

    assert [(1, True)] * 2 == [_at(clock, each) for each in refused]
    assert (1, True) == _at(clock, claims.claim(OTHER))


def test_the_account_is_not_among_the_senders(engine: Engine, clock: Clock) -> None:
    """Operators see the states of senders only."""
    claims = Claims(engine, clock)
    claims.claim()
    claims.claim()

    assert [SENDER] == [state.sender for state in claims.limiter.states()]


def test_another_limit_applies_to_the_next_message(engine: Engine, clock: Clock) -> None:
    """A worker that was restarted with a higher limit is not held to the lower one."""
    Claims(engine, clock, account_rate=1).claim()
    clock.seconds = 1

    faster = Claims(engine, clock, account_rate=10)

    assert Claimed() == faster.claim(OTHER)
    assert (1.1, True) == _at(clock, faster.claim("+15005550008"))


@pytest.mark.parametrize("is_reserved_by_account", [False, True])
def test_messages_of_many_workers_at_once(
    engine: Engine, clock: Clock, is_reserved_by_account: bool
) -> None:
    """Each has a limiter of its own: together they send no more than the burst tolerance allows."""
    rate = 20
    workers = [Claims(engine, clock, account_rate=rate) for _ in range(8)]

    def claim(number: int) -> Claimed | NotClaimed:
        return workers[number % 8].claim(
            f"+1500555{number:04}", is_reserved_by_account=is_reserved_by_account
        )

    with ThreadPoolExecutor(8) as threads:
        claims = list(threads.map(claim, range(80)))

    allowed = int(BURST_TOLERANCE * rate) + 1 if is_reserved_by_account else 1
    assert allowed == claims.count(Claimed())


@dataclass(frozen=True, order=True)
class _Try:
    """A message's next attempt."""

    at: float
    number: int
    message: MessageRequest = field(compare=False)
    sender: str = field(compare=False)
    is_reserved: bool = field(default=False, compare=False)
    is_reserved_by_account: bool = field(default=False, compare=False)


def _simulated(
    workers: list[SendAttempts], clock: Clock, tries: list[_Try], delay: Callable[[], float]
) -> list[float]:
    """The times of the POSTs when messages wait as their workflow does, each worker in turn."""
    posts = []
    turns = itertools.cycle(workers)
    while tries:
        now = heappop(tries)
        clock.seconds = now.at
        claim = next(turns).claim(
            str(now.number),
            now.message,
            sender=now.sender,
            is_reserved=now.is_reserved,
            is_reserved_by_account=now.is_reserved_by_account,
        )
        if isinstance(claim, Claimed):
            posts.append(now.at)
            continue
        assert isinstance(claim, NotBefore)
        later = replace(
            now,
            at=max(now.at, (claim.moment - START).total_seconds()) + delay(),
            is_reserved=now.is_reserved or not claim.by_account,
            is_reserved_by_account=now.is_reserved_by_account or claim.by_account,
        )
        heappush(tries, later)
    return posts


@pytest.mark.parametrize("urgent_share", [0.0, 0.2])
@pytest.mark.parametrize(("account_rate", "sender_rate"), [(5, 1), (20, 2), (20, 100)])
def test_the_accounts_rate_is_used_but_not_exceeded(
    engine: Engine, clock: Clock, account_rate: float, sender_rate: float, urgent_share: float
) -> None:
    """Over any window: 20 senders, three workers, timers that are late at random."""
    rng = random.Random(3)  # noqa: S311 - a simulation
    rates = dict.fromkeys(SenderKind, float(sender_rate))
    workers = [
        SendAttempts(
            engine,
            RateLimiter(engine, rates=rates, account_rate=account_rate, now=clock),
            now=clock,
        )
        for _ in range(3)
    ]
    tries = [
        _Try(
            at=rng.uniform(0, 2),
            number=number,
            message=URGENT if rng.random() < urgent_share else MESSAGE,
            sender=f"+150055501{number % 20:02}",
        )
        for number in range(200)
    ]

    posts = _simulated(workers, clock, sorted(tries), random_delay(3, 0.1))

    assert 200 == len(posts)
    tolerance = URGENT_BURST_TOLERANCE if urgent_share else BURST_TOLERANCE
    for (first, start), (last, end) in itertools.combinations(enumerate(posts), 2):
        assert last - first + 1 <= account_rate * (end - start + tolerance) + 1.001
    assert (len(posts) - 1) / (posts[-1] - posts[0]) > 0.9 * account_rate
