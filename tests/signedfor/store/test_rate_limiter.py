"""The rate limiter on both databases, with a clock that the tests set."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine, event, select

from signedfor.store.rate_limiter import RateLimiter, SenderState
from signedfor.store.rate_limiter_statements import BURST_TOLERANCE
from signedfor.store.tables import senders
from signedfor.twilio.rates import SenderKind
from tests.signedfor.store.observation import observed
from tests.signedfor.store.rate_limiter_simulation import SENDER, START, Clock


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until a test sets it."""
    return Clock()


@pytest.fixture
def limiter(engine: Engine, clock: Clock) -> RateLimiter:
    """A rate limiter with two segments per second for a long code."""
    return RateLimiter(engine, rates={SenderKind.LONG_CODE: 2}, now=clock)


def test_reservations_follow_one_another(limiter: RateLimiter, clock: Clock) -> None:
    """Each message takes the time of its segments at the sender's rate."""
    reserved = [
        clock.at(limiter.reserve(SENDER, segments, is_urgent=False)) for segments in (1, 3, 1, 1)
    ]

    assert [0, 0.5, 2, 2.5] == reserved
    assert timedelta(seconds=3) == limiter.backlog(SENDER)


def test_an_idle_sender_does_not_save_up_its_rate(limiter: RateLimiter, clock: Clock) -> None:
    """After idle time, the next reservation is for now and the one after it a segment later."""
    limiter.reserve(SENDER, 1, is_urgent=False)
    clock.seconds = 100

    assert [100, 100.5] == [clock.at(limiter.reserve(SENDER, 1, is_urgent=False)) for _ in range(2)]


def test_senders_do_not_wait_for_one_another(limiter: RateLimiter, clock: Clock) -> None:
    """Each sender has a backlog of its own."""
    for _ in range(10):
        limiter.reserve(SENDER, 10, is_urgent=False)

    assert 0 == clock.at(limiter.reserve("+15005550007", 1, is_urgent=False))
    assert timedelta(0) == limiter.backlog("+15005550008")


def test_acquiring_enforces_the_rate(limiter: RateLimiter, clock: Clock) -> None:
    """Of many messages at once, a second's worth may be sent, and the others are deferred."""
    deferred = [clock.at(limiter.acquire(SENDER, 1)) for _ in range(8)]

    assert [None, None, 0.4, 0.9, 1.4, 1.9, 2.4, 2.9] == deferred


def test_an_urgent_message_does_not_queue(limiter: RateLimiter, clock: Clock) -> None:
    """It is sent before the backlog; other messages are deferred to the end of the queue."""
    _reserve(limiter, 20)
    assert limiter.acquire(SENDER, 1) is None

    reserved = [clock.at(limiter.reserve(SENDER, 1, is_urgent=True)) for _ in range(3)]

    assert [0, 0.5, 1] == reserved
    assert 10 == clock.at(limiter.acquire(SENDER, 1))
    assert limiter.acquire(SENDER, 1, is_urgent=True) is None


def test_an_unused_urgent_reservation_expires(limiter: RateLimiter, clock: Clock) -> None:
    """Other messages are deferred for its duration only."""
    limiter.reserve(SENDER, 4, is_urgent=True)
    assert limiter.acquire(SENDER, 1) is not None
    clock.seconds = 2

    assert [None, None] == [limiter.acquire(SENDER, 1) for _ in range(2)]


def test_urgent_reservations_do_not_exceed_the_rate(limiter: RateLimiter, clock: Clock) -> None:
    """Of many urgent messages a second's worth may be sent at once, and then one at a time."""
    for _ in range(20):
        limiter.reserve(SENDER, 1, is_urgent=True)

    deferred = []
    for clock.seconds in (10, 10.1):
        deferred.append([clock.at(limiter.acquire(SENDER, 1, is_urgent=True)) for _ in range(4)])

    assert [[None, None, 10.1, 10.1], [None, 10.6, 11.1, 11.6]] == deferred


def test_a_retry_comes_before_new_messages_and_after_urgent_ones(
    limiter: RateLimiter, clock: Clock
) -> None:
    """It does not delay urgent messages."""
    _reserve(limiter, 20)
    while limiter.acquire(SENDER, 1, is_retry=True) is None:
        pass

    deferred = [clock.at(limiter.acquire(SENDER, 1, is_retry=True)) for _ in range(2)]

    assert [0.9, 1.4] == deferred
    assert 0.1 == clock.at(limiter.reserve(SENDER, 1, is_urgent=True))
    clock.seconds = 0.9
    assert limiter.acquire(SENDER, 1) is not None
    assert limiter.acquire(SENDER, 1, is_retry=True) is None


def test_a_message_that_is_slightly_early_keeps_its_place(
    limiter: RateLimiter, clock: Clock
) -> None:
    """It is deferred by a moment only."""
    _reserve(limiter, 20)
    assert [None, None] == [limiter.acquire(SENDER, 1) for _ in range(2)]
    clock.seconds = 0.3

    deferred_until = clock.at(limiter.acquire(SENDER, 1))

    assert 0.4 == deferred_until
    clock.seconds = 0.41
    assert limiter.acquire(SENDER, 1) is None


@pytest.mark.parametrize("is_urgent", [False, True])
def test_a_time_that_does_not_fit_is_not_reserved(
    limiter: RateLimiter, clock: Clock, is_urgent: bool
) -> None:
    """It is returned, but left for the next message."""
    _reserve(limiter, 4)
    for _ in range(2):
        limiter.acquire(SENDER, 1)
    before = clock.at(limiter.reserve(SENDER, 100, is_urgent=is_urgent, fits=lambda _: False))

    deferred_until = limiter.acquire(SENDER, 1, is_urgent=is_urgent, fits=lambda _: False)

    assert deferred_until is not None
    assert before == clock.at(limiter.reserve(SENDER, 1, is_urgent=is_urgent))


def test_a_message_that_would_expire_at_the_end_of_the_queue(
    limiter: RateLimiter, clock: Clock
) -> None:
    """It is deferred by a short time, at the cost of messages that can wait."""
    _reserve(limiter, 100)
    for _ in range(2):
        limiter.acquire(SENDER, 1, is_urgent=True)

    def in_time(at: datetime) -> bool:
        return at < START + timedelta(seconds=30)

    deferred = [clock.at(limiter.acquire(SENDER, 1, fits=fits)) for fits in (in_time, _never)]

    assert [0.4, 0.9] == deferred, "a message that cannot be sent any more uses up no time"
    clock.seconds = 0.61
    assert limiter.acquire(SENDER, 1, fits=in_time) is None


def test_a_released_reservation_is_free_again(limiter: RateLimiter, clock: Clock) -> None:
    """The next message gets its time, unless that time has passed."""
    reservations = [limiter.reserve(SENDER, 2, is_urgent=False) for _ in range(3)]
    clock.seconds = 0.5
    for reserved_at in reservations:
        limiter.release(SENDER, 2, reserved_at)

    assert 1 == clock.at(limiter.reserve(SENDER, 1, is_urgent=False))
    limiter.release(SENDER, 100, START + timedelta(seconds=1))
    assert 0.5 == clock.at(limiter.reserve(SENDER, 1, is_urgent=False))


def test_a_released_urgent_reservation_goes_to_urgent_messages(
    limiter: RateLimiter, clock: Clock
) -> None:
    """The reservations of other messages do not change."""
    _reserve(limiter, 3)
    limiter.reserve(SENDER, 1, is_urgent=True)
    limiter.release(SENDER, 1, limiter.reserve(SENDER, 1, is_urgent=True), is_urgent=True)

    assert 0.5 == clock.at(limiter.reserve(SENDER, 1, is_urgent=True))
    assert 1.5 == clock.at(limiter.reserve(SENDER, 1, is_urgent=False))


def test_a_released_reservation_of_a_retry_goes_to_retries(
    limiter: RateLimiter, clock: Clock
) -> None:
    """The end of the queue does not change."""
    _reserve(limiter, 20)
    limiter.acquire(SENDER, 4)
    reserved_at = limiter.acquire(SENDER, 2, is_retry=True)
    assert reserved_at is not None

    limiter.release(SENDER, 2, reserved_at, is_retry=True)

    assert clock.at(reserved_at) == clock.at(limiter.acquire(SENDER, 2, is_retry=True))
    assert 10 == clock.at(limiter.reserve(SENDER, 1, is_urgent=False))


def test_a_sender_can_have_its_own_rate(limiter: RateLimiter, clock: Clock) -> None:
    """It applies to the next reservation; without it, the default applies again."""
    limiter.set_rate(SENDER, 10)
    assert [0, 0.1] == [clock.at(limiter.reserve(SENDER, 1, is_urgent=False)) for _ in range(2)]
    assert 10 == limiter.rate(SENDER)

    limiter.set_rate(SENDER, None)
    assert 2 == limiter.rate(SENDER)
    assert [0.2, 0.7] == [clock.at(limiter.reserve(SENDER, 1, is_urgent=False)) for _ in range(2)]


def test_a_higher_rate_applies_at_once(limiter: RateLimiter, clock: Clock) -> None:
    """It shortens the backlog, the urgent reservations and the time that the sender is busy."""
    limiter.set_rate(SENDER, 0.001)
    assert limiter.acquire(SENDER, 1) is None
    _reserve(limiter, 10)
    limiter.reserve(SENDER, 3, is_urgent=True)

    limiter.set_rate(SENDER, None)

    assert limiter.acquire(SENDER, 1, is_urgent=True) is None
    assert 0.5 + 1.5 >= (clock.at(limiter.reserve(SENDER, 1, is_urgent=True)) or 0.0)
    assert 5.5 >= (clock.at(limiter.reserve(SENDER, 1, is_urgent=False)) or 0.0)


def test_a_lower_rate_does_not_stretch_the_backlog(limiter: RateLimiter, clock: Clock) -> None:
    """Waiting messages are deferred at their last check, and must not take their time twice."""
    _reserve(limiter, 20)
    assert limiter.acquire(SENDER, 1) is None

    limiter.set_rate(SENDER, 1)

    assert [10, 11] == [clock.at(limiter.reserve(SENDER, 1, is_urgent=False)) for _ in range(2)]
    assert limiter.acquire(SENDER, 1) is None


def test_a_lower_rate_applies_to_existing_reservations(limiter: RateLimiter) -> None:
    """A reservation made at a higher rate does not allow a message to be sent."""
    limiter.set_rate(SENDER, 0.1)

    deferred = [limiter.acquire(SENDER, 1) for _ in range(5)]

    assert 1 == deferred.count(None)


def test_a_sender_can_be_paused_and_resumed(limiter: RateLimiter) -> None:
    """It can be paused before its first message."""
    limiter.pause(SENDER)
    assert limiter.is_paused(SENDER)
    assert [True] == [state.is_paused for state in limiter.states()]

    limiter.resume(SENDER)
    assert not limiter.is_paused(SENDER)
    assert not limiter.is_paused("+15005550007")


def test_the_states_of_all_senders(limiter: RateLimiter, clock: Clock) -> None:
    """Each has its rate, whether that is configured, its backlog and its urgent segments."""
    limiter.set_rate("Acme", 5)
    limiter.reserve("Acme", 50, is_urgent=False)
    limiter.reserve(SENDER, 3, is_urgent=False)
    limiter.acquire(SENDER, 3)
    clock.seconds = 1
    limiter.reserve("Acme", 2, is_urgent=True)

    def values(state: SenderState) -> tuple[object, ...]:
        backlog, urgent = round(state.backlog_segments, 3), round(state.urgent_segments, 3)
        return state.sender, state.rate, state.is_configured, backlog, urgent

    expected = [(SENDER, 2, False, 1, 0), ("Acme", 5, True, 45, 2)]
    assert expected == [values(state) for state in limiter.states()]


def test_the_backlog_of_a_sender_with_urgent_messages_only(
    limiter: RateLimiter, clock: Clock
) -> None:
    """A new message waits for urgent messages too."""
    for _ in range(4):
        limiter.reserve(SENDER, 1, is_urgent=True)

    assert timedelta(seconds=2) == limiter.backlog(SENDER)
    assert 2 == clock.at(limiter.reserve(SENDER, 1, is_urgent=False))


@pytest.mark.parametrize(("is_urgent", "is_retry"), [(False, False), (True, False), (False, True)])
def test_reserving_and_acquiring_take_one_statement_each(
    engine: Engine, limiter: RateLimiter, is_urgent: bool, is_retry: bool
) -> None:
    """This holds on the happy path, for each kind of message."""
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *given: statements.append(given[2]))

    limiter.reserve(SENDER, 1, is_urgent=is_urgent)
    limiter.acquire(SENDER, 1, is_urgent=is_urgent, is_retry=is_retry)

    assert 2 == sum(not each.startswith("BEGIN") for each in statements)


def test_concurrent_reservations_never_overlap(engine: Engine, clock: Clock) -> None:
    """No time is reserved twice and none is left out."""
    limiter = RateLimiter(engine, rates={SenderKind.LONG_CODE: 2}, now=clock)
    with ThreadPoolExecutor(8) as threads:
        reserved = list(
            threads.map(lambda _: limiter.reserve(SENDER, 1, is_urgent=False), range(80))
        )

    assert [each / 2 for each in range(80)] == sorted(clock.at(each) or 0.0 for each in reserved)


def test_concurrent_last_checks_do_not_exceed_the_rate(engine: Engine, clock: Clock) -> None:
    """Of many messages at once, a second's worth may be sent."""
    limiter = RateLimiter(engine, rates={SenderKind.LONG_CODE: 20}, now=clock)
    with ThreadPoolExecutor(8) as threads:
        deferred = list(threads.map(lambda _: limiter.acquire(SENDER, 1), range(80)))

    assert int(BURST_TOLERANCE * 20) + 1 == deferred.count(None)


# Messages without a reservation.


_USED_BEFORE = {
    "never": [],
    "just now": [(0.0, 3, False)],
    "long ago": [(-100.0, 3, False)],
    "by a retry, within the burst tolerance": [(1.3, 1, True)],
}
"""When a sender has sent how many segments, and whether as a retry."""


@pytest.mark.parametrize("is_urgent", [False, True])
@pytest.mark.parametrize("used", _USED_BEFORE.values(), ids=_USED_BEFORE.keys())
def test_at_an_idle_sender_a_message_passes_without_a_reservation(
    engine: Engine,
    limiter: RateLimiter,
    clock: Clock,
    is_urgent: bool,
    used: list[tuple[float, int, bool]],
) -> None:
    """The state is the same as after reserving and acquiring, which takes one statement more."""
    other = "+15005550007"
    for clock.seconds, segments, is_retry in used:
        for sender in (SENDER, other):
            if not is_retry:
                limiter.reserve(sender, segments, is_urgent=is_urgent)
            assert limiter.acquire(sender, segments, is_urgent=is_urgent, is_retry=is_retry) is None
    clock.seconds = 1.5
    work = observed(engine)

    passed = limiter.acquire(SENDER, 2, is_urgent=is_urgent, is_reserved=False)

    assert passed is None
    assert (1, 1) == (len(work.statements), work.begins)
    assert 1.5 == clock.at(limiter.reserve(other, 2, is_urgent=is_urgent))
    assert limiter.acquire(other, 2, is_urgent=is_urgent) is None
    assert _row(engine, SENDER) == pytest.approx(_row(engine, other))


def test_at_a_busy_sender_a_message_gets_the_next_free_time(
    limiter: RateLimiter, clock: Clock
) -> None:
    """They follow one another; when its time comes, each passes."""
    times = [clock.at(limiter.acquire(SENDER, n, is_reserved=False)) for n in (1, 3, 1)]

    assert [None, 0.5, 2] == times
    for clock.seconds, segments in ((0.5, 3), (2.0, 1)):
        assert limiter.acquire(SENDER, segments) is None
    assert 2.5 == clock.at(limiter.acquire(SENDER, 1, is_reserved=False))


def test_a_message_does_not_pass_before_those_that_have_reserved(
    limiter: RateLimiter, clock: Clock
) -> None:
    """The sender has sent nothing for a while, but others wait: it goes behind them."""
    _reserve(limiter, 4)
    clock.seconds = 1

    assert 2 == clock.at(limiter.acquire(SENDER, 1, is_reserved=False))
    assert 2.5 == clock.at(limiter.reserve(SENDER, 1, is_urgent=False))


def test_an_urgent_message_ignores_the_reservations_of_others(
    limiter: RateLimiter, clock: Clock
) -> None:
    """It waits for urgent reservations and the rate only."""
    _reserve(limiter, 20)

    urgent = [limiter.acquire(SENDER, 1, is_urgent=True, is_reserved=False) for _ in range(3)]

    assert [None, 0.5, 1] == [clock.at(each) for each in urgent]
    assert 10 == clock.at(limiter.reserve(SENDER, 1, is_urgent=False)), "the others keep theirs"


def test_other_messages_wait_for_urgent_reservations(limiter: RateLimiter, clock: Clock) -> None:
    """A message without a reservation goes behind them."""
    limiter.reserve(SENDER, 4, is_urgent=True)

    assert 2 == clock.at(limiter.acquire(SENDER, 1, is_reserved=False))


def test_a_retry_without_a_reservation_does_not_queue(limiter: RateLimiter, clock: Clock) -> None:
    """Its earlier attempt had permission: the rate alone decides."""
    _reserve(limiter, 20)

    retries = [limiter.acquire(SENDER, 1, is_reserved=False, is_retry=True) for _ in range(3)]

    assert [None, None, 0.4] == [clock.at(each) for each in retries]


@pytest.mark.parametrize("is_urgent", [False, True])
def test_a_message_without_a_reservation_reserves_no_time_that_does_not_fit(
    engine: Engine, limiter: RateLimiter, is_urgent: bool
) -> None:
    """The time is returned, and left for the next message."""
    limiter.acquire(SENDER, 4, is_urgent=is_urgent, is_reserved=False)
    before = _row(engine, SENDER)

    refused = limiter.acquire(SENDER, 5, is_urgent=is_urgent, is_reserved=False, fits=_never)

    assert before == _row(engine, SENDER)
    assert refused is not None
    assert refused == limiter.acquire(SENDER, 1, is_urgent=is_urgent, is_reserved=False)


def test_a_message_whose_time_is_now_passes_whatever_fits(limiter: RateLimiter) -> None:
    """Only a time to wait for is asked about: the caller has checked this moment."""
    assert limiter.acquire(SENDER, 1, is_reserved=False, fits=_never) is None


def test_of_many_messages_at_once_one_passes(engine: Engine, clock: Clock) -> None:
    """The others reserve times that follow one another: none twice, none left out."""
    limiter = RateLimiter(engine, rates={SenderKind.LONG_CODE: 2}, now=clock)
    with ThreadPoolExecutor(8) as threads:
        times = list(
            threads.map(lambda _: limiter.acquire(SENDER, 1, is_reserved=False), range(40))
        )

    assert 1 == times.count(None)
    waits = sorted((clock.at(each) or 0.0) for each in times)
    assert [each / 2 for each in range(40)] == waits


def _row(engine: Engine, sender: str) -> tuple[float, ...]:
    times = (
        senders.c.busy_until,
        senders.c.urgent_reserved_until,
        senders.c.expedited_reserved_until,
        senders.c.normal_reserved_until,
    )
    with engine.connect() as connection:
        return tuple(connection.execute(select(*times).where(senders.c.sender == sender)).one())


def _reserve(limiter: RateLimiter, messages: int) -> None:
    for _ in range(messages):
        limiter.reserve(SENDER, 1, is_urgent=False)


def _never(_: datetime) -> bool:
    return False
