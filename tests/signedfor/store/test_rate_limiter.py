"""Slots and the gate, on both databases, with a clock of the test's own."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine, event

from signedfor.store.rate_limiter import RateLimiter, SenderState
from signedfor.store.rate_limiter_statements import BURST_TOLERANCE
from signedfor.twilio.rates import SenderKind
from tests.signedfor.store.rate_limiter_simulation import SENDER, START, Clock


@pytest.fixture
def clock() -> Clock:
    """Stands still until it is set."""
    return Clock()


@pytest.fixture
def limiter(engine: Engine, clock: Clock) -> RateLimiter:
    """A long code with two segments a second."""
    return RateLimiter(engine, rates={SenderKind.LONG_CODE: 2}, now=clock)


def test_slots_follow_one_another(limiter: RateLimiter, clock: Clock) -> None:
    """Each slot begins where the one before ends, at the rate, segment by segment."""
    slots = [
        clock.at(limiter.reserve(SENDER, segments, is_urgent=False)) for segments in (1, 3, 1, 1)
    ]

    assert [0, 0.5, 2, 2.5] == slots
    assert timedelta(seconds=3) == limiter.backlog(SENDER)


def test_an_idle_sender_saves_nothing_up(limiter: RateLimiter, clock: Clock) -> None:
    """After a pause the next slot is now, and the one after it a segment later."""
    limiter.reserve(SENDER, 1, is_urgent=False)
    clock.seconds = 100

    assert [100, 100.5] == [clock.at(limiter.reserve(SENDER, 1, is_urgent=False)) for _ in range(2)]


def test_senders_do_not_wait_for_one_another(limiter: RateLimiter, clock: Clock) -> None:
    """One sender's backlog is no other's."""
    for _ in range(10):
        limiter.reserve(SENDER, 10, is_urgent=False)

    assert 0 == clock.at(limiter.reserve("+15005550007", 1, is_urgent=False))
    assert timedelta(0) == limiter.backlog("+15005550008")


def test_the_gate_holds_the_rate(limiter: RateLimiter, clock: Clock) -> None:
    """Many that come at once: one second's worth goes, the others take slots at the pace."""
    told = [clock.at(limiter.acquire(SENDER, 1)) for _ in range(8)]

    passed, slots = told.count(None), [slot for slot in told if slot is not None]
    assert 2 == passed
    assert [0.4, 0.9, 1.4, 1.9, 2.4, 2.9] == slots


def test_an_urgent_message_does_not_queue(limiter: RateLimiter, clock: Clock) -> None:
    """It goes at once past a backlog; who comes to the gate meanwhile goes to the end."""
    _line_up(limiter, 20)
    assert limiter.acquire(SENDER, 1) is None

    claims = [clock.at(limiter.reserve(SENDER, 1, is_urgent=True)) for _ in range(3)]

    assert [0, 0.5, 1] == claims
    assert 10 == clock.at(limiter.acquire(SENDER, 1))
    assert limiter.acquire(SENDER, 1, is_urgent=True) is None


def test_a_claim_that_is_not_used_passes(limiter: RateLimiter, clock: Clock) -> None:
    """Others stand back while its moment lasts, and go on as if it had never been."""
    limiter.reserve(SENDER, 4, is_urgent=True)
    assert limiter.acquire(SENDER, 1) is not None
    clock.seconds = 2

    assert [None, None] == [limiter.acquire(SENDER, 1) for _ in range(2)]


def test_a_claim_opens_no_gate(limiter: RateLimiter, clock: Clock) -> None:
    """Whenever urgent messages come, however many, a second's worth goes, then one by one."""
    for _ in range(20):
        limiter.reserve(SENDER, 1, is_urgent=True)

    told = []
    for clock.seconds in (10, 10.1):
        told.append([clock.at(limiter.acquire(SENDER, 1, is_urgent=True)) for _ in range(4)])

    assert [[None, None, 10.1, 10.1], [None, 10.6, 11.1, 11.6]] == told


def test_a_message_that_is_tried_again(limiter: RateLimiter, clock: Clock) -> None:
    """It goes before those who have not had their turn, after urgent ones, and keeps none back."""
    _line_up(limiter, 20)
    while limiter.acquire(SENDER, 1, is_retry=True) is None:
        pass

    slots = [clock.at(limiter.acquire(SENDER, 1, is_retry=True)) for _ in range(2)]

    assert [0.9, 1.4] == slots
    assert 0.1 == clock.at(limiter.reserve(SENDER, 1, is_urgent=True))
    clock.seconds = 0.9
    assert limiter.acquire(SENDER, 1) is not None
    assert limiter.acquire(SENDER, 1, is_retry=True) is None


def test_a_message_hardly_too_early_waits_at_the_gate(limiter: RateLimiter, clock: Clock) -> None:
    """It comes back in a moment and keeps its place."""
    _line_up(limiter, 20)
    assert [None, None] == [limiter.acquire(SENDER, 1) for _ in range(2)]
    clock.seconds = 0.3

    again = clock.at(limiter.acquire(SENDER, 1))

    assert 0.4 == again
    clock.seconds = 0.41
    assert limiter.acquire(SENDER, 1) is None


@pytest.mark.parametrize("is_urgent", [False, True])
def test_what_does_not_fit_takes_no_slot(
    limiter: RateLimiter, clock: Clock, is_urgent: bool
) -> None:
    """The slot is told, and left for the next one: at admission, and at the gate."""
    _line_up(limiter, 4)
    for _ in range(2):
        limiter.acquire(SENDER, 1)
    before = clock.at(limiter.reserve(SENDER, 100, is_urgent=is_urgent, fits=lambda _: False))

    told = clock.at(limiter.acquire(SENDER, 1, is_urgent=is_urgent, fits=lambda _: False))

    assert told is not None
    assert before == clock.at(limiter.reserve(SENDER, 1, is_urgent=is_urgent))


def test_a_message_for_which_the_end_is_too_late(limiter: RateLimiter, clock: Clock) -> None:
    """Bumped at the gate it stays near it, and takes its time from those who can wait."""
    _line_up(limiter, 100)
    for _ in range(2):
        limiter.acquire(SENDER, 1, is_urgent=True)

    def in_time(moment: datetime) -> bool:
        return moment < START + timedelta(seconds=30)

    slots = [clock.at(limiter.acquire(SENDER, 1, fits=fits)) for fits in (in_time, _never)]

    assert [0.4, 0.9] == slots, "and what cannot be sent any more takes nothing from anybody"
    clock.seconds = 0.61
    assert limiter.acquire(SENDER, 1, fits=in_time) is None


def test_give_back(limiter: RateLimiter, clock: Clock) -> None:
    """The slot of a message that was canceled is free for the next; one that has passed is gone."""
    slots = [limiter.reserve(SENDER, 2, is_urgent=False) for _ in range(3)]
    clock.seconds = 0.5
    for slot in slots:
        limiter.release(SENDER, 2, slot)

    assert 1 == clock.at(limiter.reserve(SENDER, 1, is_urgent=False))
    limiter.release(SENDER, 100, START + timedelta(seconds=1))
    assert 0.5 == clock.at(limiter.reserve(SENDER, 1, is_urgent=False))


def test_give_back_a_claim(limiter: RateLimiter, clock: Clock) -> None:
    """An urgent message gives back to urgent ones, and leaves the others' slots alone."""
    _line_up(limiter, 3)
    limiter.reserve(SENDER, 1, is_urgent=True)
    limiter.release(SENDER, 1, limiter.reserve(SENDER, 1, is_urgent=True), is_urgent=True)

    assert 0.5 == clock.at(limiter.reserve(SENDER, 1, is_urgent=True))
    assert 1.5 == clock.at(limiter.reserve(SENDER, 1, is_urgent=False))


def test_give_back_when_tried_again(limiter: RateLimiter, clock: Clock) -> None:
    """One that had its turn gives back to those like it, and leaves the end of the line alone."""
    _line_up(limiter, 20)
    limiter.acquire(SENDER, 4)
    again = limiter.acquire(SENDER, 2, is_retry=True)
    assert again is not None

    limiter.release(SENDER, 2, again, is_retry=True)

    assert clock.at(again) == clock.at(limiter.acquire(SENDER, 2, is_retry=True))
    assert 10 == clock.at(limiter.reserve(SENDER, 1, is_urgent=False))


def test_a_rate_of_its_own(limiter: RateLimiter, clock: Clock) -> None:
    """Set while it runs, it holds for the next slot and at the gate; unset, the default is back."""
    limiter.set_rate(SENDER, 10)
    assert [0, 0.1] == [clock.at(limiter.reserve(SENDER, 1, is_urgent=False)) for _ in range(2)]
    assert 10 == limiter.rate(SENDER)

    limiter.set_rate(SENDER, None)
    assert 2 == limiter.rate(SENDER)
    assert [0.2, 0.7] == [clock.at(limiter.reserve(SENDER, 1, is_urgent=False)) for _ in range(2)]


def test_a_higher_rate_holds_at_once(limiter: RateLimiter, clock: Clock) -> None:
    """What lies ahead becomes shorter by it: the backlog, what is claimed, what keeps it busy."""
    limiter.set_rate(SENDER, 0.001)
    assert limiter.acquire(SENDER, 1) is None
    _line_up(limiter, 10)
    limiter.reserve(SENDER, 3, is_urgent=True)

    limiter.set_rate(SENDER, None)

    assert limiter.acquire(SENDER, 1, is_urgent=True) is None
    assert 0.5 + 1.5 >= (clock.at(limiter.reserve(SENDER, 1, is_urgent=True)) or 0.0)
    assert 5.5 >= (clock.at(limiter.reserve(SENDER, 1, is_urgent=False)) or 0.0)


def test_a_lower_rate_stretches_nothing(limiter: RateLimiter, clock: Clock) -> None:
    """Those who wait are bumped by the gate and so take the time that they need: not twice."""
    _line_up(limiter, 20)
    assert limiter.acquire(SENDER, 1) is None

    limiter.set_rate(SENDER, 1)

    assert [10, 11] == [clock.at(limiter.reserve(SENDER, 1, is_urgent=False)) for _ in range(2)]
    assert limiter.acquire(SENDER, 1) is None


def test_a_lower_rate_holds_for_slots_given_away(limiter: RateLimiter) -> None:
    """Slots made at a high rate do not let anything by at the gate."""
    limiter.set_rate(SENDER, 0.1)

    told = [limiter.acquire(SENDER, 1) for _ in range(5)]

    assert 1 == told.count(None)


def test_pause(limiter: RateLimiter) -> None:
    """A sender can be paused before it was ever used, and resumed."""
    limiter.pause(SENDER)
    assert limiter.is_paused(SENDER)
    assert [True] == [state.is_paused for state in limiter.states()]

    limiter.resume(SENDER)
    assert not limiter.is_paused(SENDER)
    assert not limiter.is_paused("+15005550007")


def test_states(limiter: RateLimiter, clock: Clock) -> None:
    """Every sender is shown with its rate, where that is from, its backlog, and what is urgent."""
    limiter.set_rate("Acme", 5)
    limiter.reserve("Acme", 50, is_urgent=False)
    limiter.reserve(SENDER, 3, is_urgent=False)
    limiter.acquire(SENDER, 3)
    clock.seconds = 1
    limiter.reserve("Acme", 2, is_urgent=True)

    def shown(state: SenderState) -> tuple[object, ...]:
        backlog, borrowed = round(state.backlog_segments, 3), round(state.urgent_segments, 3)
        return state.sender, state.rate, state.is_configured, backlog, borrowed

    expected = [(SENDER, 2, False, 1, 0), ("Acme", 5, True, 45, 2)]
    assert expected == [shown(state) for state in limiter.states()]


def test_the_backlog_of_a_sender_with_urgent_messages_only(
    limiter: RateLimiter, clock: Clock
) -> None:
    """A new message waits for what is urgent, too."""
    for _ in range(4):
        limiter.reserve(SENDER, 1, is_urgent=True)

    assert timedelta(seconds=2) == limiter.backlog(SENDER)
    assert 2 == clock.at(limiter.reserve(SENDER, 1, is_urgent=False))


@pytest.mark.parametrize(("is_urgent", "is_retry"), [(False, False), (True, False), (False, True)])
def test_one_statement_a_step(
    engine: Engine, limiter: RateLimiter, is_urgent: bool, is_retry: bool
) -> None:
    """On the straight way a plan and a passage are one statement each, whoever comes."""
    said: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *given: said.append(given[2]))

    limiter.reserve(SENDER, 1, is_urgent=is_urgent)
    limiter.acquire(SENDER, 1, is_urgent=is_urgent, is_retry=is_retry)

    assert 2 == sum(not each.startswith("BEGIN") for each in said)


def test_concurrent_reservations_never_overlap(engine: Engine, clock: Clock) -> None:
    """However many take slots at once, no slot is given twice and none is left out."""
    limiter = RateLimiter(engine, rates={SenderKind.LONG_CODE: 2}, now=clock)
    with ThreadPoolExecutor(8) as threads:
        slots = list(threads.map(lambda _: limiter.reserve(SENDER, 1, is_urgent=False), range(80)))

    assert [each / 2 for each in range(80)] == sorted(clock.at(slot) or 0.0 for slot in slots)


def test_concurrent_passages_keep_the_rate(engine: Engine, clock: Clock) -> None:
    """However many come to the gate at once, one second's worth goes by."""
    limiter = RateLimiter(engine, rates={SenderKind.LONG_CODE: 20}, now=clock)
    with ThreadPoolExecutor(8) as threads:
        told = list(threads.map(lambda _: limiter.acquire(SENDER, 1), range(80)))

    assert int(BURST_TOLERANCE * 20) + 1 == told.count(None)


def _line_up(limiter: RateLimiter, messages: int) -> None:
    for _ in range(messages):
        limiter.reserve(SENDER, 1, is_urgent=False)


def _never(_: datetime) -> bool:
    return False
