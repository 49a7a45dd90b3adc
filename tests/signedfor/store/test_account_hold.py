"""The account's hold on both databases, with a clock that the tests set."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine

from signedfor.contract import MessageRequest
from signedfor.store.account_hold import TRY_INTERVAL, AccountHold, Hold
from signedfor.store.claim_statements import Blocked
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.send_attempts import Claimed, SendAttempts
from signedfor.twilio.rates import SenderKind
from tests.signedfor.store.rate_limiter_simulation import SENDER, START, Clock

MESSAGE = MessageRequest(to="+15558675309", body="Your parcel is at the door.")
WAIT = TRY_INTERVAL.total_seconds()


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until a test sets it."""
    return Clock()


@pytest.fixture
def hold(engine: Engine, clock: Clock) -> AccountHold:
    """The hold: there is none at first."""
    return AccountHold(engine, now=clock)


@pytest.fixture
def attempts(engine: Engine, clock: Clock) -> SendAttempts:
    """The attempt records, with senders that are never busy."""
    rates = dict.fromkeys(SenderKind, 1e9)
    return SendAttempts(engine, RateLimiter(engine, rates=rates, now=clock), now=clock)


def test_a_hold_begins_once(hold: AccountHold, clock: Clock) -> None:
    """A later refusal prolongs it and has the newest code; its beginning stays."""
    assert hold.find() is None
    assert hold.begin(20003)
    clock.seconds = 7
    assert not hold.begin(None)

    assert Hold(None, START, clock() + TRY_INTERVAL) == hold.find()


def test_a_hold_ends(hold: AccountHold) -> None:
    """Ending it again does no harm, and another may begin."""
    hold.begin(20003)
    hold.end()
    hold.end()

    assert hold.find() is None
    assert hold.begin(20003)


def test_while_the_account_is_held_nothing_is_claimed(
    hold: AccountHold, attempts: SendAttempts, clock: Clock
) -> None:
    """Until the next try: then one message is, and the others wait for the one after it."""
    hold.begin(20003)
    for clock.seconds in (0.0, WAIT - 0.001):
        assert Blocked.ACCOUNT_HELD == attempts.claim("early", MESSAGE, sender=SENDER)

    clock.seconds = WAIT
    tries = [attempts.claim(f"m{number}", MESSAGE, sender=SENDER) for number in range(3)]

    assert [Claimed(is_account_try=True), Blocked.ACCOUNT_HELD, Blocked.ACCOUNT_HELD] == tries
    clock.seconds = 2 * WAIT
    assert Claimed(is_account_try=True) == attempts.claim("m1", MESSAGE, sender=SENDER)
    hold.end()
    assert Claimed() == attempts.claim("m2", MESSAGE, sender=SENDER)


def test_of_many_messages_at_once_one_is_tried(
    hold: AccountHold, attempts: SendAttempts, clock: Clock
) -> None:
    """Threads claim at the moment of the next try."""
    hold.begin(20003)
    clock.seconds = WAIT
    with ThreadPoolExecutor(8) as threads:
        claims = list(
            threads.map(
                lambda number: attempts.claim(f"m{number}", MESSAGE, sender=f"+150055500{number}"),
                range(10, 26),
            )
        )

    assert 1 == claims.count(Claimed(is_account_try=True))
    assert 15 == claims.count(Blocked.ACCOUNT_HELD)


def test_a_held_message_uses_nothing_of_its_senders_rate(
    engine: Engine, hold: AccountHold, attempts: SendAttempts
) -> None:
    """It leaves no trace at all."""
    hold.begin(20003)

    attempts.claim("m1", MESSAGE, sender=SENDER)

    assert [] == RateLimiter(engine).states()
    assert attempts.holder("m1", 1) is None
