"""Slots, claims and the gate, on both databases, with a clock of the test's own."""

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush

import pytest
from sqlalchemy import Engine

from messaging.rates import SenderKind
from store.pace_statements import GATE_AHEAD
from store.pacing import CLAIM_GOOD_FOR, Pacing

SENDER = "+15005550006"
START = datetime(2026, 11, 21, 12, tzinfo=UTC)


class Clock:
    """Seconds since the test began."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> datetime:
        """The time."""
        return START + timedelta(seconds=self.seconds)

    def at(self, moment: datetime | None) -> float | None:
        """A moment in the test's seconds."""
        return None if moment is None else round((moment - START).total_seconds(), 3)


@pytest.fixture
def clock() -> Clock:
    """Stands still until it is set."""
    return Clock()


@pytest.fixture
def pacing(engine: Engine, clock: Clock) -> Pacing:
    """A long code with two segments a second."""
    return Pacing(engine, rates={SenderKind.LONG_CODE: 2}, now=clock)


def test_slots_follow_one_another(pacing: Pacing, clock: Clock) -> None:
    """Each slot begins where the one before ends, at the rate, segment by segment."""
    slots = [clock.at(pacing.reserve(SENDER, segments)) for segments in (1, 3, 1, 1)]

    assert [0, 0.5, 2, 2.5] == slots
    assert timedelta(seconds=3) == pacing.ahead(SENDER)


def test_an_idle_sender_saves_nothing_up(pacing: Pacing, clock: Clock) -> None:
    """After a pause the next slot is now, and the one after it a segment later."""
    pacing.reserve(SENDER, 1)
    clock.seconds = 100

    assert [100, 100.5] == [clock.at(pacing.reserve(SENDER, 1)) for _ in range(2)]


def test_senders_do_not_wait_for_one_another(pacing: Pacing, clock: Clock) -> None:
    """One sender's backlog is no other's."""
    for _ in range(10):
        pacing.reserve(SENDER, 10)

    assert 0 == clock.at(pacing.reserve("+15005550007", 1))
    assert timedelta(0) == pacing.ahead("+15005550008")


def test_the_gate_holds_the_rate(pacing: Pacing, clock: Clock) -> None:
    """Many that come at once: one second's worth goes, the others take slots at the pace."""
    told = [clock.at(pacing.pass_gate(SENDER, 1)) for _ in range(8)]

    passed, slots = told.count(None), [slot for slot in told if slot is not None]
    assert 2 == passed
    assert [0.4, 0.9, 1.4, 1.9, 2.4, 2.9] == slots


def test_an_urgent_message_does_not_queue(pacing: Pacing, clock: Clock) -> None:
    """It goes at once past a backlog; who comes to the gate meanwhile goes to the end."""
    for _ in range(20):
        pacing.reserve(SENDER, 1)
    assert pacing.pass_gate(SENDER, 1) is None

    claims = [clock.at(pacing.claim(SENDER, 1)) for _ in range(3)]

    assert [0, 0.1, 0.6] == claims
    clock.seconds = 0.5
    assert 10 == clock.at(pacing.pass_gate(SENDER, 1))
    assert 3.0 == pacing.states()[0].borrowed


def test_a_message_hardly_too_early_waits_at_the_gate(pacing: Pacing, clock: Clock) -> None:
    """It comes back in a moment and keeps its place."""
    for _ in range(20):
        pacing.reserve(SENDER, 1)
    pacing.claim(SENDER, 1)
    pacing.claim(SENDER, 1)
    clock.seconds = 0.3

    again = clock.at(pacing.pass_gate(SENDER, 1))

    assert 0.4 == again
    clock.seconds = 0.41
    assert pacing.pass_gate(SENDER, 1) is None


def test_a_claim_is_good_for_a_moment(pacing: Pacing, clock: Clock) -> None:
    """In time it is used as it is; later it is void, and a new one is made."""
    slot = pacing.claim(SENDER, 1)
    turn = {"has_priority": True, "claimed": slot}
    clock.seconds = CLAIM_GOOD_FOR.total_seconds() - 0.1
    assert pacing.take_turn(SENDER, 1, **turn) is None  # type: ignore[arg-type]
    assert 0 == pacing.states()[0].borrowed

    clock.seconds = CLAIM_GOOD_FOR.total_seconds() + 0.1
    told = [clock.at(pacing.take_turn(SENDER, 1, **turn)) for _ in range(20)]  # type: ignore[arg-type]

    assert 2 == told.count(None), "after an outage urgent messages keep the rate too"
    assert told[-1] is not None
    assert told[-1] >= 10


def test_what_does_not_fit_takes_no_slot(pacing: Pacing, clock: Clock) -> None:
    """The slot is told, and left for the next one."""
    pacing.reserve(SENDER, 4)
    for has_priority in (False, True):
        pacing.plan(SENDER, 100, has_priority=has_priority, fits=lambda _: False)

    assert 2 == clock.at(pacing.plan(SENDER, 1, has_priority=False))


def test_a_rate_of_its_own(pacing: Pacing, clock: Clock) -> None:
    """Set while it runs, it holds for the next slot and at the gate; unset, the default is back."""
    pacing.reserve(SENDER, 1)
    pacing.set_rate(SENDER, 10)
    slots = [clock.at(pacing.reserve(SENDER, 1)) for _ in range(2)]
    assert [0.5, 0.6] == slots
    assert 10 == pacing.rate(SENDER)

    pacing.set_rate(SENDER, None)
    assert 2 == pacing.rate(SENDER)
    assert [0.7, 1.2] == [clock.at(pacing.reserve(SENDER, 1)) for _ in range(2)]


def test_a_lower_rate_holds_for_slots_given_away(pacing: Pacing) -> None:
    """Slots made at a high rate do not let anything by at the gate."""
    pacing.set_rate(SENDER, 0.1)

    told = [pacing.pass_gate(SENDER, 1) for _ in range(5)]

    assert 1 == told.count(None)


def test_pause(pacing: Pacing) -> None:
    """A sender can be paused before it was ever used, and resumed."""
    pacing.pause(SENDER)
    assert pacing.is_paused(SENDER)
    assert [True] == [state.is_paused for state in pacing.states()]

    pacing.resume(SENDER)
    assert not pacing.is_paused(SENDER)
    assert not pacing.is_paused("+15005550007")


def test_states(pacing: Pacing, clock: Clock) -> None:
    """Every sender is shown with its rate, where that is from, and its backlog."""
    pacing.set_rate("Acme", 5)
    pacing.reserve("Acme", 50)
    pacing.reserve(SENDER, 3)
    clock.seconds = 1

    shown = [
        (state.sender, state.rate, state.is_configured, state.backlog_segments)
        for state in pacing.states()
    ]

    assert [(SENDER, 2, False, 1), ("Acme", 5, True, 45)] == shown


def test_concurrent_reservations_never_overlap(engine: Engine, clock: Clock) -> None:
    """However many take slots at once, no slot is given twice and none is left out."""
    pacing = Pacing(engine, rates={SenderKind.LONG_CODE: 2}, now=clock)
    with ThreadPoolExecutor(8) as threads:
        slots = list(threads.map(lambda _: pacing.reserve(SENDER, 1), range(80)))

    assert [each / 2 for each in range(80)] == sorted(clock.at(slot) or 0.0 for slot in slots)


def test_concurrent_passages_keep_the_rate(engine: Engine, clock: Clock) -> None:
    """However many come to the gate at once, one second's worth goes by."""
    pacing = Pacing(engine, rates={SenderKind.LONG_CODE: 20}, now=clock)
    with ThreadPoolExecutor(8) as threads:
        told = list(threads.map(lambda _: pacing.pass_gate(SENDER, 1), range(80)))

    assert int(GATE_AHEAD * 20) + 1 == told.count(None)


def _late(chance: random.Random) -> float:
    """How late Temporal and a worker let a message come: now and then by a second."""
    return chance.expovariate(4)


def test_a_day_at_the_gate(engine: Engine) -> None:
    """A backlog with urgent messages between: the rate is used, kept, and urgent ones are fast."""
    clock, chance, rate = Clock(), random.Random(7), 10  # noqa: S311 - a simulation
    pacing = Pacing(engine, rates={SenderKind.LONG_CODE: rate}, now=clock)
    line: list[tuple[float, int, int, bool, datetime | None]] = []
    born: dict[int, float] = {}

    def come(number: int, segments: int, *, urgent: bool) -> None:
        slot = pacing.plan(SENDER, segments, has_priority=urgent)
        at = (clock.at(slot) or 0.0) + _late(chance)
        heappush(line, (at, number, segments, urgent, slot))

    for number in range(250):
        come(number, chance.choice((1, 2, 3)), urgent=False)
    arrivals = [2 + 0.5 * each for each in range(50)]
    posts: list[tuple[float, int]] = []
    waits: list[float] = []
    while line or arrivals:
        if arrivals and (not line or arrivals[0] < line[0][0]):
            clock.seconds = arrivals.pop(0)
            born[1000 + len(born)] = clock.seconds
            come(999 + len(born), 1, urgent=True)
            continue
        clock.seconds, number, segments, urgent, slot = heappop(line)
        new = pacing.take_turn(SENDER, segments, has_priority=urgent, claimed=slot)
        if new is None:
            posts.append((clock.seconds, segments))
            waits += [clock.seconds - born[number]] if urgent else []
        else:
            at = (clock.at(new) or 0.0) + _late(chance)
            heappush(line, (at, number, segments, urgent, new))

    assert 300 == len(posts)
    busy = posts[-1][0] - posts[0][0]
    assert sum(segments for _, segments in posts[:-1]) / busy >= 0.96 * rate
    assert _most_in_a_second(posts) <= 2 * rate
    assert sorted(waits)[int(0.99 * len(waits))] <= 2


def _most_in_a_second(posts: list[tuple[float, int]]) -> int:
    return max(
        sum(segments for at, segments in posts if begin <= at < begin + 1) for begin, _ in posts
    )
