"""How many rows of a campaign are dispatched at a time."""

import random
from dataclasses import asdict, dataclass
from datetime import timedelta

import pytest

from activities.dispatch_budget import (
    HIGH_WATERMARK,
    JITTER,
    MAX_UNSTARTED,
    MAX_WAITING,
    PAGE,
    DispatchBudget,
    dispatch_budget,
)

_NOMINAL = 0.5
"""The random draw that neither lengthens nor shortens the wait."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """The load of sender and campaign; by default an idle sender of one segment per second."""

    backlog: timedelta = timedelta(0)
    rate: float = 1
    segments_per_row: float = 1
    unstarted: int = 0
    waiting: int = 0


def _budget(load: Load) -> DispatchBudget:
    return dispatch_budget(**asdict(load))


def _dispatched(load: Load, *, segments: int = 1, draw: float = _NOMINAL) -> tuple[int, timedelta]:
    """How many rows of a long campaign are dispatched, and the wait until the next page."""
    budget = _budget(load)
    rows = budget.fitting([segments] * 10_000)
    return rows, budget.next_in(rows, rows * segments, draw=draw)


@pytest.mark.parametrize(
    ("load", "segments", "expected"),
    [
        # Limited by the rate: the backlog is filled to a minute, and again when 45 s are left.
        (Load(), 1, (60, 15)),
        (Load(backlog=timedelta(seconds=45)), 1, (15, 15)),
        (Load(backlog=timedelta(seconds=59.5)), 3, (1, 17.5)),
        (Load(backlog=HIGH_WATERMARK), 1, (0, 15)),
        (Load(backlog=timedelta(hours=3)), 1, (0, 60)),
        (Load(segments_per_row=6), 6, (10, 15)),
        (Load(rate=0.001), 1, (1, 60)),
        # Limited by the page size.
        (Load(rate=100), 1, (PAGE, 0)),
        (Load(rate=4), 1, (PAGE, 5)),
        # Messages that no worker has started yet will need reservations too.
        (Load(unstarted=20), 1, (40, 15)),
        (Load(rate=100, unstarted=MAX_UNSTARTED - 7), 1, (7, 1)),
        (Load(rate=100, unstarted=MAX_UNSTARTED + 9), 1, (0, 1)),
        # Messages that wait for a send window have no reservation, but a limit of their own.
        (Load(waiting=MAX_WAITING), 1, (60, 30)),
        (Load(waiting=MAX_WAITING + 60), 1, (0, 30)),
        (Load(rate=100, waiting=MAX_WAITING + 5_990), 1, (10, 30)),
    ],
)
def test_the_budget_fills_a_minute_within_the_limits(
    load: Load, segments: int, expected: tuple[int, float]
) -> None:
    """A page fills a minute of the sender's time, unless another limit is lower."""
    rows, seconds = expected

    assert (rows, timedelta(seconds=seconds)) == _dispatched(load, segments=segments)


def test_the_last_rows_are_all_dispatched() -> None:
    """There may be fewer rows than the budget allows."""
    assert 2 == _budget(Load()).fitting([1, 1])
    assert 0 == _budget(Load()).fitting([])


def test_jitter_changes_only_the_wait_for_the_rate() -> None:
    """It shortens or lengthens that wait by up to half; the wait for another limit is exact."""
    paced, full = Load(), Load(rate=100, unstarted=MAX_UNSTARTED - 7)
    waits = [[_dispatched(load, draw=draw)[1] for draw in (0, 0.999)] for load in (paced, full)]

    nominal = timedelta(seconds=15)
    assert nominal * (1 - JITTER) == waits[0][0]
    assert nominal * 1.49 < waits[0][1] < nominal * (1 + JITTER)
    assert [timedelta(seconds=1)] * 2 == waits[1]


@dataclass
class _Sender:
    """A sender with several campaigns; all messages of a campaign have the same length."""

    rate: float
    lengths: tuple[int, ...]
    rng: random.Random
    tail: float = 0.0

    def __post_init__(self) -> None:
        self.dispatched = [0] * len(self.lengths)
        """Dispatched segments of each campaign."""
        self.backlogs_before = list[float]()
        """The backlog in seconds before each page."""
        self.backlogs_after = list[float]()
        """The backlog in seconds after each page."""

    def run(self, *, seconds: float) -> None:
        """Let the campaigns dispatch for this time; they start a second after one another."""
        next_pages = [float(number) for number in range(len(self.lengths))]
        while (now := min(next_pages)) < seconds:
            campaign = next_pages.index(now)
            rows, wait = self._dispatch_page(now, self.lengths[campaign])
            self.dispatched[campaign] += rows * self.lengths[campaign]
            # Reading the database and starting messages takes a second.
            next_pages[campaign] = now + wait.total_seconds() + 1

    def _dispatch_page(self, now: float, segments: int) -> tuple[int, timedelta]:
        backlog = max(0.0, self.tail - now)
        load = Load(backlog=timedelta(seconds=backlog), rate=self.rate, segments_per_row=segments)
        rows, wait = _dispatched(load, segments=segments, draw=self.rng.random())
        self.tail = max(self.tail, now) + rows * segments / self.rate
        self.backlogs_before.append(backlog)
        self.backlogs_after.append(self.tail - now)
        return rows, wait


@pytest.mark.parametrize("rate", [0.5, 1, 10, 80])
@pytest.mark.parametrize("lengths", [(1,), (4,), (10,), (1, 1), (1, 4, 10)])
def test_the_backlog_stays_between_its_bounds(rate: float, lengths: tuple[int, ...]) -> None:
    """Over two hours the sender is never idle; its backlog is at most a minute and a message."""
    sender = _Sender(rate, lengths, random.Random(7))  # noqa: S311 - a simulation
    sender.run(seconds=7200)

    limit = HIGH_WATERMARK.total_seconds() + max(lengths) / rate + 0.01
    assert max(sender.backlogs_after) <= limit
    # A fast sender's first pages are still filling the minute.
    assert min(sender.backlogs_before[60:]) > 20


@pytest.mark.parametrize("rate", [1, 10])
@pytest.mark.parametrize("lengths", [(1, 1), (1, 3), (1, 1, 1)])
def test_campaigns_of_one_sender_share_its_time(rate: float, lengths: tuple[int, ...]) -> None:
    """Over two hours each gets its equal part, give or take a quarter, whichever started first."""
    sender = _Sender(rate, lengths, random.Random(7))  # noqa: S311 - a simulation
    sender.run(seconds=7200)

    fair = sum(sender.dispatched) / len(lengths)
    assert [pytest.approx(fair, rel=0.25)] * len(lengths) == sender.dispatched
