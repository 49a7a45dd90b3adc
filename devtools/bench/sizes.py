"""The sizes of benchmarks: large for meaningful figures, or minimal, to see that they run."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The sizes of all benchmarks."""

    rounds: int = 3
    """Fresh environments, in which each side is measured."""
    legs: int = 2
    """Two: each side is measured early and late, so that changes of speed affect all alike."""
    messages: int = 300
    """Sent until delivered, a round."""
    turns: int = 10
    """Of each side in a round of `throughput`, the product's and the baseline's by turns."""
    turn_messages: int = 150
    """Sent until delivered in each turn, about three seconds."""
    warm_up: int = 40
    concurrency: int = 40
    """Messages in flight."""
    idle_messages: int = 60
    """One after the other, a round."""
    seconds: float = 20
    """Of each open-loop load, at its rate."""
    callbacks: int = 2000
    """As fast as they are answered, a round."""
    callback_rate: float = 200
    counted: int = 20
    """Messages whose history and statements are counted."""
    reserved_seconds: float = 10
    """How far ahead the reservation of those that wait is."""
    worker_processes: tuple[int, ...] = (1, 2, 4)
    """The first is what the others are compared with."""
    waiting: int = 10_000
    paced_messages: int = 1000
    """Of one sender."""
    paced_segments: int = 10
    """Of each of them: a machine that posts few messages a second then posts many segments."""
    paced_rate: float = 50
    """Segments a second of that sender."""
    many_senders: int = 200
    each_sender: int = 6
    """Messages of each of the many senders."""
    slow_rate: float = 0.08
    """Segments a second of each: all together fewer than the machine can do."""
    cut_off_rate: float = 25
    """Segments a second of the sender whose workers are killed."""
    outage_seconds: float = 60
    """Without workers; what was due meanwhile is posted after their restart."""
    rows: int = 100_000
    """Of a campaign's file."""
    few_rows: int = 1000
    """Of a small file, to compare its memory with."""
    killed_rows: int = 1000
    """Of the campaign whose worker is killed."""
    kills: int = 3
    """Of its worker; the Temporal server is killed once."""
    campaign_page: int = 200
    campaign_pages: int = 10
    """That are dispatched."""
    pauses: int = 5
    pause_every_seconds: float = 6
    pause_seconds: float = 3
    opt_outs: int = 1_000_000
    """In the full database; each came from an inbound message."""
    attempt_records: int = 2_000_000
    transactions: int = 1000
    """Measured of each kind."""
    closed_messages: int = 500_000
    """In Temporal's list."""
    indexed_messages: int = 100_000
    """In Temporal's list and in the index of messages, all of one day."""
    open_dead_letters: int = 200
    page_runs: int = 20
    """How often each page is opened."""
    on_cluster: bool = False
    """On the compose file's Temporal server and PostgreSQL instead of the embedded ones."""
    rival_messages: int = 500
    """Of each contender, sent until delivered, a round."""
    rival_concurrency: int = 200
    rival_idle_messages: int = 50
    fault_messages: int = 240
    """Sent by each contender while faults are injected."""
    fault_rate: float = 3
    """Messages a second of each."""
    fault_batch: int = 20
    """Whose worker is killed, and as many whose worker is frozen."""
    freeze_seconds: float = 40
    """Twice as long as a POST may take: where a timeout decides, another worker takes over."""
    settle_seconds: float = 90
    """After the last fault; what has no outcome then has none."""


FULL = Sizes()
QUICK = Sizes(
    rounds=1,
    legs=1,
    messages=8,
    turns=2,
    turn_messages=4,
    warm_up=2,
    concurrency=4,
    idle_messages=3,
    seconds=1,
    callbacks=40,
    callback_rate=20,
    counted=2,
    reserved_seconds=6,
    worker_processes=(1, 2),
    waiting=40,
    paced_messages=15,
    many_senders=5,
    each_sender=3,
    slow_rate=2,
    outage_seconds=2,
    rows=300,
    few_rows=30,
    killed_rows=20,
    kills=1,
    campaign_page=20,
    campaign_pages=2,
    pauses=1,
    pause_every_seconds=1.5,
    pause_seconds=1,
    opt_outs=300,
    attempt_records=5000,
    transactions=20,
    closed_messages=500,
    indexed_messages=500,
    open_dead_letters=2,
    page_runs=2,
    rival_messages=8,
    rival_concurrency=4,
    rival_idle_messages=3,
    fault_messages=24,
    fault_rate=8,
    fault_batch=3,
    freeze_seconds=2,
    settle_seconds=25,
)
"""For the smoke test: everything runs, and no figure is meaningful."""
