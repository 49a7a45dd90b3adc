"""Slots and the gate, on both databases, with a clock of the test's own."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine, event

from signedfor.store.rate_limiter import RateLimiter, SenderState
from signedfor.store.rate_limiter_statements import GATE_AHEAD
from signedfor.twilio.rates import SenderKind
from tests.signedfor.store.rate_limiter_simulation import SENDER, START, Clock


@pytest.fixture
def clock() -> Clock:
    """Stands still until it is set."""
    return Clock()


@pytest.fixture
def pacing(engine: Engine, clock: Clock) -> RateLimiter:
    """A long code with two segments a second."""
    return RateLimiter(engine, rates={SenderKind.LONG_CODE: 2}, now=clock)


def test_slots_follow_one_another(pacing: RateLimiter, clock: Clock) -> None:
    """Each slot begins where the one before ends, at the rate, segment by segment."""
    slots = [clock.at(pacing.reserve(SENDER, segments)) for segments in (1, 3, 1, 1)]

    assert [0, 0.5, 2, 2.5] == slots
    assert timedelta(seconds=3) == pacing.ahead(SENDER)


def test_an_idle_sender_saves_nothing_up(pacing: RateLimiter, clock: Clock) -> None:
    """After a pause the next slot is now, and the one after it a segment later."""
    pacing.reserve(SENDER, 1)
    clock.seconds = 100

    assert [100, 100.5] == [clock.at(pacing.reserve(SENDER, 1)) for _ in range(2)]


def test_senders_do_not_wait_for_one_another(pacing: RateLimiter, clock: Clock) -> None:
    """One sender's backlog is no other's."""
    for _ in range(10):
        pacing.reserve(SENDER, 10)

    assert 0 == clock.at(pacing.reserve("+15005550007", 1))
    assert timedelta(0) == pacing.ahead("+15005550008")


def test_the_gate_holds_the_rate(pacing: RateLimiter, clock: Clock) -> None:
    """Many that come at once: one second's worth goes, the others take slots at the pace."""
    told = [clock.at(pacing.acquire(SENDER, 1)) for _ in range(8)]

    passed, slots = told.count(None), [slot for slot in told if slot is not None]
    assert 2 == passed
    assert [0.4, 0.9, 1.4, 1.9, 2.4, 2.9] == slots


def test_an_urgent_message_does_not_queue(pacing: RateLimiter, clock: Clock) -> None:
    """It goes at once past a backlog; who comes to the gate meanwhile goes to the end."""
    _line_up(pacing, 20)
    assert pacing.acquire(SENDER, 1) is None

    claims = [clock.at(pacing.claim(SENDER, 1)) for _ in range(3)]

    assert [0, 0.5, 1] == claims
    assert 10 == clock.at(pacing.acquire(SENDER, 1))
    assert pacing.acquire(SENDER, 1, is_urgent=True) is None


def test_a_claim_that_is_not_used_passes(pacing: RateLimiter, clock: Clock) -> None:
    """Others stand back while its moment lasts, and go on as if it had never been."""
    pacing.claim(SENDER, 4)
    assert pacing.acquire(SENDER, 1) is not None
    clock.seconds = 2

    assert [None, None] == [pacing.acquire(SENDER, 1) for _ in range(2)]


def test_a_claim_opens_no_gate(pacing: RateLimiter, clock: Clock) -> None:
    """Whenever urgent messages come, however many, a second's worth goes, then one by one."""
    for _ in range(20):
        pacing.claim(SENDER, 1)

    told = []
    for clock.seconds in (10, 10.1):
        told.append([clock.at(pacing.acquire(SENDER, 1, is_urgent=True)) for _ in range(4)])

    assert [[None, None, 10.1, 10.1], [None, 10.6, 11.1, 11.6]] == told


def test_a_message_that_is_tried_again(pacing: RateLimiter, clock: Clock) -> None:
    """It goes before those who have not had their turn, after urgent ones, and keeps none back."""
    _line_up(pacing, 20)
    while pacing.acquire(SENDER, 1, is_retry=True) is None:
        pass

    slots = [clock.at(pacing.acquire(SENDER, 1, is_retry=True)) for _ in range(2)]

    assert [0.9, 1.4] == slots
    assert 0.1 == clock.at(pacing.claim(SENDER, 1))
    clock.seconds = 0.9
    assert pacing.acquire(SENDER, 1) is not None
    assert pacing.acquire(SENDER, 1, is_retry=True) is None


def test_a_message_hardly_too_early_waits_at_the_gate(pacing: RateLimiter, clock: Clock) -> None:
    """It comes back in a moment and keeps its place."""
    _line_up(pacing, 20)
    assert [None, None] == [pacing.acquire(SENDER, 1) for _ in range(2)]
    clock.seconds = 0.3

    again = clock.at(pacing.acquire(SENDER, 1))

    assert 0.4 == again
    clock.seconds = 0.41
    assert pacing.acquire(SENDER, 1) is None


@pytest.mark.parametrize("is_urgent", [False, True])
def test_what_does_not_fit_takes_no_slot(
    pacing: RateLimiter, clock: Clock, is_urgent: bool
) -> None:
    """The slot is told, and left for the next one: at admission, and at the gate."""
    _line_up(pacing, 4)
    for _ in range(2):
        pacing.acquire(SENDER, 1)
    before = clock.at(pacing.plan(SENDER, 100, is_urgent=is_urgent, fits=lambda _: False))

    told = clock.at(pacing.acquire(SENDER, 1, is_urgent=is_urgent, fits=lambda _: False))

    assert told is not None
    assert before == clock.at(pacing.plan(SENDER, 1, is_urgent=is_urgent))


def test_a_message_for_which_the_end_is_too_late(pacing: RateLimiter, clock: Clock) -> None:
    """Bumped at the gate it stays near it, and takes its time from those who can wait."""
    _line_up(pacing, 100)
    for _ in range(2):
        pacing.acquire(SENDER, 1, is_urgent=True)

    def in_time(moment: datetime) -> bool:
        return moment < START + timedelta(seconds=30)

    slots = [clock.at(pacing.acquire(SENDER, 1, fits=fits)) for fits in (in_time, _never)]

    assert [0.4, 0.9] == slots, "and what cannot be sent any more takes nothing from anybody"
    clock.seconds = 0.61
    assert pacing.acquire(SENDER, 1, fits=in_time) is None


def test_give_back(pacing: RateLimiter, clock: Clock) -> None:
    """The slot of a message that was canceled is free for the next; one that has passed is gone."""
    slots = [pacing.reserve(SENDER, 2) for _ in range(3)]
    clock.seconds = 0.5
    for slot in slots:
        pacing.give_back(SENDER, 2, slot)

    assert 1 == clock.at(pacing.reserve(SENDER, 1))
    pacing.give_back(SENDER, 100, START + timedelta(seconds=1))
    assert 0.5 == clock.at(pacing.reserve(SENDER, 1))


def test_give_back_a_claim(pacing: RateLimiter, clock: Clock) -> None:
    """An urgent message gives back to urgent ones, and leaves the others' slots alone."""
    _line_up(pacing, 3)
    pacing.claim(SENDER, 1)
    pacing.give_back(SENDER, 1, pacing.claim(SENDER, 1), is_urgent=True)

    assert 0.5 == clock.at(pacing.claim(SENDER, 1))
    assert 1.5 == clock.at(pacing.reserve(SENDER, 1))


def test_give_back_when_tried_again(pacing: RateLimiter, clock: Clock) -> None:
    """One that had its turn gives back to those like it, and leaves the end of the line alone."""
    _line_up(pacing, 20)
    pacing.acquire(SENDER, 4)
    again = pacing.acquire(SENDER, 2, is_retry=True)
    assert again is not None

    pacing.give_back(SENDER, 2, again, is_retry=True)

    assert clock.at(again) == clock.at(pacing.acquire(SENDER, 2, is_retry=True))
    assert 10 == clock.at(pacing.reserve(SENDER, 1))


def test_a_rate_of_its_own(pacing: RateLimiter, clock: Clock) -> None:
    """Set while it runs, it holds for the next slot and at the gate; unset, the default is back."""
    pacing.set_rate(SENDER, 10)
    assert [0, 0.1] == [clock.at(pacing.reserve(SENDER, 1)) for _ in range(2)]
    assert 10 == pacing.rate(SENDER)

    pacing.set_rate(SENDER, None)
    assert 2 == pacing.rate(SENDER)
    assert [0.2, 0.7] == [clock.at(pacing.reserve(SENDER, 1)) for _ in range(2)]


def test_a_higher_rate_holds_at_once(pacing: RateLimiter, clock: Clock) -> None:
    """What lies ahead becomes shorter by it: the backlog, what is claimed, what keeps it busy."""
    pacing.set_rate(SENDER, 0.001)
    assert pacing.acquire(SENDER, 1) is None
    _line_up(pacing, 10)
    pacing.claim(SENDER, 3)

    pacing.set_rate(SENDER, None)

    assert pacing.acquire(SENDER, 1, is_urgent=True) is None
    assert 0.5 + 1.5 >= (clock.at(pacing.claim(SENDER, 1)) or 0.0)
    assert 5.5 >= (clock.at(pacing.reserve(SENDER, 1)) or 0.0)


def test_a_lower_rate_stretches_nothing(pacing: RateLimiter, clock: Clock) -> None:
    """Those who wait are bumped by the gate and so take the time that they need: not twice."""
    _line_up(pacing, 20)
    assert pacing.acquire(SENDER, 1) is None

    pacing.set_rate(SENDER, 1)

    assert [10, 11] == [clock.at(pacing.reserve(SENDER, 1)) for _ in range(2)]
    assert pacing.acquire(SENDER, 1) is None


def test_a_lower_rate_holds_for_slots_given_away(pacing: RateLimiter) -> None:
    """Slots made at a high rate do not let anything by at the gate."""
    pacing.set_rate(SENDER, 0.1)

    told = [pacing.acquire(SENDER, 1) for _ in range(5)]

    assert 1 == told.count(None)


def test_pause(pacing: RateLimiter) -> None:
    """A sender can be paused before it was ever used, and resumed."""
    pacing.pause(SENDER)
    assert pacing.is_paused(SENDER)
    assert [True] == [state.is_paused for state in pacing.states()]

    pacing.resume(SENDER)
    assert not pacing.is_paused(SENDER)
    assert not pacing.is_paused("+15005550007")


def test_states(pacing: RateLimiter, clock: Clock) -> None:
    """Every sender is shown with its rate, where that is from, its backlog, and what is urgent."""
    pacing.set_rate("Acme", 5)
    pacing.reserve("Acme", 50)
    pacing.reserve(SENDER, 3)
    pacing.acquire(SENDER, 3)
    clock.seconds = 1
    pacing.claim("Acme", 2)

    def shown(state: SenderState) -> tuple[object, ...]:
        backlog, borrowed = round(state.backlog_segments, 3), round(state.borrowed, 3)
        return state.sender, state.rate, state.is_configured, backlog, borrowed

    expected = [(SENDER, 2, False, 1, 0), ("Acme", 5, True, 45, 2)]
    assert expected == [shown(state) for state in pacing.states()]


def test_the_backlog_of_a_sender_with_urgent_messages_only(
    pacing: RateLimiter, clock: Clock
) -> None:
    """A new message waits for what is urgent, too."""
    for _ in range(4):
        pacing.claim(SENDER, 1)

    assert timedelta(seconds=2) == pacing.ahead(SENDER)
    assert 2 == clock.at(pacing.reserve(SENDER, 1))


@pytest.mark.parametrize(("is_urgent", "is_retry"), [(False, False), (True, False), (False, True)])
def test_one_statement_a_step(
    engine: Engine, pacing: RateLimiter, is_urgent: bool, is_retry: bool
) -> None:
    """On the straight way a plan and a passage are one statement each, whoever comes."""
    said: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *given: said.append(given[2]))

    pacing.plan(SENDER, 1, is_urgent=is_urgent)
    pacing.acquire(SENDER, 1, is_urgent=is_urgent, is_retry=is_retry)

    assert 2 == sum(not each.startswith("BEGIN") for each in said)


def test_concurrent_reservations_never_overlap(engine: Engine, clock: Clock) -> None:
    """However many take slots at once, no slot is given twice and none is left out."""
    pacing = RateLimiter(engine, rates={SenderKind.LONG_CODE: 2}, now=clock)
    with ThreadPoolExecutor(8) as threads:
        slots = list(threads.map(lambda _: pacing.reserve(SENDER, 1), range(80)))

    assert [each / 2 for each in range(80)] == sorted(clock.at(slot) or 0.0 for slot in slots)


def test_concurrent_passages_keep_the_rate(engine: Engine, clock: Clock) -> None:
    """However many come to the gate at once, one second's worth goes by."""
    pacing = RateLimiter(engine, rates={SenderKind.LONG_CODE: 20}, now=clock)
    with ThreadPoolExecutor(8) as threads:
        told = list(threads.map(lambda _: pacing.acquire(SENDER, 1), range(80)))

    assert int(GATE_AHEAD * 20) + 1 == told.count(None)


def _line_up(pacing: RateLimiter, messages: int) -> None:
    for _ in range(messages):
        pacing.reserve(SENDER, 1)


def _never(_: datetime) -> bool:
    return False
