"""How much of a campaign is handed over at a time."""

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
"""The draw that makes no wait longer or shorter."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """How sender and campaign stand; by default an idle sender of one segment a second."""

    backlog: timedelta = timedelta(0)
    rate: float = 1
    segments_a_row: float = 1
    unstarted: int = 0
    waiting: int = 0


def _budget(load: Load) -> DispatchBudget:
    return dispatch_budget(**asdict(load))


def _dispatched(load: Load, *, segments: int = 1, draw: float = _NOMINAL) -> tuple[int, timedelta]:
    """How many rows of a long campaign are handed over, and when more are."""
    found = _budget(load)
    rows = found.fitting([segments] * 10_000)
    return rows, found.next_in(rows, rows * segments, draw=draw)


@pytest.mark.parametrize(
    ("load", "segments", "expected"),
    [
        # Paced: a minute of the sender's time is filled, and filled up again when 45 s are left.
        (Load(), 1, (60, 15)),
        (Load(backlog=timedelta(seconds=45)), 1, (15, 15)),
        (Load(backlog=timedelta(seconds=59.5)), 3, (1, 17.5)),
        (Load(backlog=HIGH_WATERMARK), 1, (0, 15)),
        (Load(backlog=timedelta(hours=3)), 1, (0, 60)),
        (Load(segments_a_row=6), 6, (10, 15)),
        (Load(rate=0.001), 1, (1, 60)),
        # Faster than one page at a time.
        (Load(rate=100), 1, (PAGE, 0)),
        (Load(rate=4), 1, (PAGE, 5)),
        # What no worker has come to yet will need slots too.
        (Load(unstarted=20), 1, (40, 15)),
        (Load(rate=100, unstarted=MAX_UNSTARTED - 7), 1, (7, 1)),
        (Load(rate=100, unstarted=MAX_UNSTARTED + 9), 1, (0, 1)),
        # Waiting for a send window takes no slot, and has a bound of its own.
        (Load(waiting=MAX_WAITING), 1, (60, 30)),
        (Load(waiting=MAX_WAITING + 60), 1, (0, 30)),
        (Load(rate=100, waiting=MAX_WAITING + 5_990), 1, (10, 30)),
    ],
)
def test_what_is_handed_over_and_when_more(
    load: Load, segments: int, expected: tuple[int, float]
) -> None:
    """As much as fills a minute of the sender's time, and no more than can be dealt with."""
    rows, seconds = expected

    assert (rows, timedelta(seconds=seconds)) == _dispatched(load, segments=segments)


def test_the_last_rows() -> None:
    """Fewer rows than there is room for are all handed over."""
    assert 2 == _budget(Load()).fitting([1, 1])
    assert 0 == _budget(Load()).fitting([])


def test_chance_moves_the_wait_by_half_and_what_is_full_stays_full() -> None:
    """Shorter and longer alike; a bound of another kind is waited for in full."""
    paced, crowded = Load(), Load(rate=100, unstarted=MAX_UNSTARTED - 7)
    waits = [[_dispatched(load, draw=draw)[1] for draw in (0, 0.999)] for load in (paced, crowded)]

    nominal = timedelta(seconds=15)
    assert nominal * (1 - JITTER) == waits[0][0]
    assert nominal * 1.49 < waits[0][1] < nominal * (1 + JITTER)
    assert [timedelta(seconds=1)] * 2 == waits[1]


@dataclass
class _Sender:
    """A sender whose time is filled by campaigns, each of messages of one length."""

    rate: float
    lengths: tuple[int, ...]
    chance: random.Random
    tail: float = 0.0

    def __post_init__(self) -> None:
        self.given = [0] * len(self.lengths)
        """Segments handed over, campaign by campaign."""
        self.found = list[float]()
        """Seconds that were filled when somebody looked."""
        self.left = list[float]()
        """And when they had handed over."""

    def fill(self, *, seconds: float) -> None:
        """Let the campaigns, which begin a moment after one another, feed it for so long."""
        looks = [float(number) for number in range(len(self.lengths))]
        while (now := min(looks)) < seconds:
            campaign = looks.index(now)
            rows, wait = self._look(now, self.lengths[campaign])
            self.given[campaign] += rows * self.lengths[campaign]
            # Reading the database and starting messages takes a second.
            looks[campaign] = now + wait.total_seconds() + 1

    def _look(self, now: float, segments: int) -> tuple[int, timedelta]:
        self.found.append(max(0.0, self.tail - now))
        load = Load(
            backlog=timedelta(seconds=self.found[-1]), rate=self.rate, segments_a_row=segments
        )
        rows, wait = _dispatched(load, segments=segments, draw=self.chance.random())
        self.tail = max(self.tail, now) + rows * segments / self.rate
        self.left.append(self.tail - now)
        return rows, wait


@pytest.mark.parametrize("rate", [0.5, 1, 10, 80])
@pytest.mark.parametrize("lengths", [(1,), (4,), (10,), (1, 1), (1, 4, 10)])
def test_the_sender_never_runs_dry_and_never_far_backlog(
    rate: float, lengths: tuple[int, ...]
) -> None:
    """Over two hours, its time is always filled, by at most a minute and one message."""
    sender = _Sender(rate, lengths, random.Random(7))  # noqa: S311 - a simulation
    sender.fill(seconds=7200)

    assert max(sender.left) <= HIGH_WATERMARK.total_seconds() + max(lengths) / rate + 0.01
    # The first pages of a fast sender fill the minute.
    assert min(sender.found[60:]) > 20


@pytest.mark.parametrize("rate", [1, 10])
@pytest.mark.parametrize("lengths", [(1, 1), (1, 3), (1, 1, 1)])
def test_campaigns_of_one_sender_share_its_time(rate: float, lengths: tuple[int, ...]) -> None:
    """Over two hours none has a quarter more or less than its part, whoever came first."""
    sender = _Sender(rate, lengths, random.Random(7))  # noqa: S311 - a simulation
    sender.fill(seconds=7200)

    fair = sum(sender.given) / len(lengths)
    assert [pytest.approx(fair, rel=0.25)] * len(lengths) == sender.given
