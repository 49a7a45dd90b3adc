"""How much of a campaign is handed over at a time."""

from dataclasses import asdict, dataclass
from datetime import timedelta

import pytest

from messaging.feed import AHEAD, MOST_UNSEEN, MOST_WAITING, PAGE, Room, room


@dataclass(frozen=True, kw_only=True)
class World:
    """How sender and campaign stand; by default an idle sender of one segment a second."""

    ahead: timedelta = timedelta(0)
    rate: float = 1
    segments_a_row: float = 1
    unseen: int = 0
    waiting: int = 0


def _room(world: World) -> Room:
    return room(**asdict(world))


def _handed(world: World, *, segments: int = 1) -> tuple[int, timedelta]:
    """How many rows of a long campaign are handed over, and when more are."""
    found = _room(world)
    rows = found.first([segments] * 10_000)
    return rows, found.come_again(rows, rows * segments)


@pytest.mark.parametrize(
    ("world", "segments", "expected"),
    [
        # Paced: a minute of the sender's time is filled, and filled up again when 45 s are left.
        (World(), 1, (60, 15)),
        (World(ahead=timedelta(seconds=45)), 1, (15, 15)),
        (World(ahead=timedelta(seconds=59.5)), 3, (1, 17.5)),
        (World(ahead=AHEAD), 1, (0, 15)),
        (World(ahead=timedelta(hours=3)), 1, (0, 60)),
        (World(segments_a_row=6), 6, (10, 15)),
        (World(rate=0.001), 1, (1, 60)),
        # Faster than one page at a time.
        (World(rate=100), 1, (PAGE, 0)),
        (World(rate=4), 1, (PAGE, 5)),
        # What no worker has come to yet will need slots too.
        (World(unseen=20), 1, (40, 15)),
        (World(rate=100, unseen=MOST_UNSEEN - 7), 1, (7, 1)),
        (World(rate=100, unseen=MOST_UNSEEN + 9), 1, (0, 1)),
        # Waiting for a send window takes no slot, and has a bound of its own.
        (World(waiting=MOST_WAITING), 1, (60, 30)),
        (World(waiting=MOST_WAITING + 60), 1, (0, 30)),
        (World(rate=100, waiting=MOST_WAITING + 5_990), 1, (10, 30)),
    ],
)
def test_what_is_handed_over_and_when_more(
    world: World, segments: int, expected: tuple[int, float]
) -> None:
    """As much as fills a minute of the sender's time, and no more than can be dealt with."""
    rows, seconds = expected

    assert (rows, timedelta(seconds=seconds)) == _handed(world, segments=segments)


def test_the_last_rows() -> None:
    """Fewer rows than there is room for are all handed over."""
    assert 2 == _room(World()).first([1, 1])
    assert 0 == _room(World()).first([])


@pytest.mark.parametrize("rate", [0.5, 1, 10, 80])
@pytest.mark.parametrize("segments", [1, 4, 10])
def test_the_sender_never_runs_dry_and_never_far_ahead(rate: float, segments: int) -> None:
    """Over an hour, its time is always filled, by at most a minute and one message."""
    now, tail, found, left = 0.0, 0.0, list[float](), list[float]()
    while now < 3600:
        found.append(max(0.0, tail - now))
        rows, wait = _handed(
            World(ahead=timedelta(seconds=found[-1]), rate=rate), segments=segments
        )
        tail = max(tail, now) + rows * segments / rate
        left.append(tail - now)
        # Reading the database and starting messages takes a second.
        now += wait.total_seconds() + 1

    assert max(left) <= AHEAD.total_seconds() + segments / rate + 0.01
    # The first pages of a fast sender fill the minute.
    assert min(found[60:]) > 30
