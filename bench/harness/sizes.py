"""How much a benchmark does: enough for figures that mean something, or just enough to run."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The sizes of all benchmarks."""

    rounds: int = 5
    messages: int = 300
    """Through the whole life, a round."""
    warm_up: int = 40
    at_once: int = 40
    """Messages under way at a time."""
    idle_messages: int = 60
    """One after the other, a round."""
    seconds: float = 20
    """Of each open-loop load, at its rate."""
    callbacks: int = 2000
    """As fast as they are answered, a round."""
    callback_rate: float = 200
    counted: int = 20
    """Messages whose history and statements are counted."""
    waiting: int = 10_000
    paced_messages: int = 1000
    """Behind one sender."""
    paced_segments: int = 10
    """Of each of them: a machine that posts few messages a second then posts many segments."""
    paced_rate: float = 50
    """Segments a second of that sender."""
    many_senders: int = 200
    each_sender: int = 3
    """Messages of each of the many senders."""
    cut_off_rate: float = 25
    """Segments a second of the sender whose workers are killed."""
    outage_seconds: float = 60
    """Without workers, and measured when they are back."""
    rows: int = 100_000
    """Of a campaign's file."""
    campaign_rows: int = 2000
    """Of the campaign that is under way, and of those that are handed over page by page."""
    campaign_page: int = 200
    pauses: int = 5
    pause_every_seconds: float = 6
    pause_seconds: float = 3


FULL = Sizes()
QUICK = Sizes(
    rounds=1,
    messages=12,
    warm_up=2,
    at_once=4,
    idle_messages=3,
    seconds=1,
    callbacks=40,
    callback_rate=20,
    counted=2,
    waiting=40,
    paced_messages=20,
    many_senders=5,
    each_sender=2,
    outage_seconds=3,
    rows=100,
    campaign_rows=200,
    campaign_page=20,
    pauses=1,
    pause_every_seconds=1,
    pause_seconds=1,
)
"""For the smoke test: everything runs, no figure means anything."""
