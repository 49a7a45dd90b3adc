"""A sender's rate: is it reached, is it respected, and which messages wait?

Three backlogs, one after the other, each complete before its first reservation:

- long texts of one fast long code, with urgent ones and another sender's in between. A control
  shows what the backlog does to the other sender: the first sender posts as fast, but each message
  is started when it is due. Half of the control runs before the backlog and half after it, because
  the server slows down as its database grows.
- a few messages of each of very many slow senders, together fewer than the machine can post
- long texts while no worker runs: what was due then is posted afterwards, at the sender's rate

The sandbox's ledger says when each POST arrives.
"""

import asyncio
import statistics
import time

from devtools.bench.environment import PRODUCT, fresh_stack, in_flight, log_progress, set_up
from devtools.bench.figures import Bound, Rounds, Sample, percentiles, used, worst_window
from devtools.bench.pacing_fixture import (
    USED,
    WAIT,
    PacingFixture,
    backlogs_of,
    calibrate,
    pace_bounds,
    pace_figures,
    until,
    whole_bounds,
    whole_figures,
)
from devtools.bench.report import Report
from devtools.bench.sizes import Sizes

BACKLOG = "one sender"
IDLE, ALONE, BESIDE = "other sender, idle", "other, no backlog", "other, beside it"
_BUSY_SENDER, _OTHER_SENDER, _STEADY_SENDER = "+15005560001", "+15005560002", "+15005560005"
_URGENT_EVERY_SECONDS = 2.0
_OTHER_EVERY_SECONDS = 1.0
_IDLE_EVERY_SECONDS = 0.3
_MIDDLE = 0.15, 0.85
"""The part of the backlog's time in which the others are started."""

_Due = dict[str, float]


async def behind_one_sender(fixture: PacingFixture) -> dict[str, Sample]:
    """Measure it."""
    backlogs, sizes = fixture.backlogs, fixture.sizes
    rate, segments = sizes.paced_rate, sizes.paced_segments
    seconds = sizes.paced_messages * segments / rate
    half_of_control = (_MIDDLE[1] - _MIDDLE[0]) * seconds / 2
    idle = await backlogs.start_at_rate(
        _OTHER_SENDER, count=sizes.idle_messages, rate=1 / _IDLE_EVERY_SECONDS
    )
    alone = await _without_a_backlog(fixture, half_of_control)
    backlog = await fixture.fill(
        [_BUSY_SENDER], each=sizes.paced_messages, segments=segments, rate=rate
    )
    begin, end = (backlog.begins_at + part * seconds for part in _MIDDLE)
    await until(begin)
    urgent, beside = await _others(fixture, _BUSY_SENDER, end - begin)
    missing = await backlogs.until_posted(within=fixture.timeout(backlog, seconds))
    alone |= await _without_a_backlog(fixture, half_of_control)
    posted = await backlogs.posted()
    return {
        BACKLOG: {
            "messages": backlog.messages,
            "segments": backlog.messages * segments,
            **pace_figures(posted, _BUSY_SENDER, rate=rate),
            **percentiles(posted.waits(urgent), "urgent "),
            **whole_figures(backlog, posted, missing=missing),
        },
        IDLE: percentiles(posted.waits(idle), WAIT),
        ALONE: percentiles(posted.waits(alone), WAIT),
        BESIDE: percentiles(posted.waits(beside), WAIT),
    }


def one_sender_bounds(sizes: Sizes) -> list[Bound]:
    """What must hold."""
    return [
        Bound(side=BACKLOG, figure=USED, at_least=98),
        Bound(side=BACKLOG, figure="urgent p99 (ms)", at_most=2000),
        *(
            Bound(side=BESIDE, figure=f"{WAIT}{part} (ms)", at_most=1.3, against=ALONE)
            for part in ("p50", "p95")
        ),
        *pace_bounds(
            BACKLOG, rate=sizes.paced_rate, segments=sizes.paced_segments, urgent_segments=1
        ),
        *whole_bounds(BACKLOG),
    ]


async def _without_a_backlog(fixture: PacingFixture, seconds: float) -> _Due:
    """The other sender's messages, while the first one posts at its rate without a backlog."""
    sizes = fixture.sizes
    await fixture.backlogs.set_rate(_STEADY_SENDER, sizes.paced_rate)
    # Together with the urgent ones, which have one segment each, this is exactly its rate.
    pace = (sizes.paced_rate - 1 / _URGENT_EVERY_SECONDS) / sizes.paced_segments
    steady = fixture.backlogs.start_at_rate(
        _STEADY_SENDER,
        count=round(seconds * pace),
        rate=pace,
        segments=sizes.paced_segments,
    )
    (_, others), _ = await asyncio.gather(_others(fixture, _STEADY_SENDER, seconds), steady)
    return others


async def _others(fixture: PacingFixture, sender: str, seconds: float) -> tuple[_Due, _Due]:
    """Urgent messages of the sender, and the other sender's; when each was due, by its id."""
    urgent, others = await asyncio.gather(
        *(
            fixture.backlogs.start_at_rate(
                each, count=max(2, round(seconds / every)), rate=1 / every, **fields
            )
            for each, every, fields in (
                (sender, _URGENT_EVERY_SECONDS, {"priority": "urgent"}),
                (_OTHER_SENDER, _OTHER_EVERY_SECONDS, {}),
            )
        )
    )
    return urgent, others


MANY = "many senders"
_LEAST_USED = "use of the rate, least of a sender (%)"
_WORST = "worst window of a message's length (x rate)"
_SENDERS = "+1500557{:04d}"


async def many_senders(fixture: PacingFixture) -> dict[str, Sample]:
    """Measure it."""
    backlogs, sizes = fixture.backlogs, fixture.sizes
    rate, length = sizes.slow_rate, 1 / sizes.slow_rate
    senders = [_SENDERS.format(number) for number in range(sizes.many_senders)]
    backlog = await fixture.fill(
        senders, each=sizes.each_sender, segments=1, rate=rate, apart=length / len(senders)
    )
    missing = await backlogs.until_posted(
        within=fixture.timeout(backlog, sizes.each_sender * length),
    )
    posted = await backlogs.posted()
    by_sender = [posted.of(sender) for sender in senders]
    uses = [100 * used(posts, rate=rate) for posts in by_sender]
    return {
        MANY: {
            "messages": backlog.messages,
            "segments": backlog.messages,
            USED: statistics.median(uses),
            _LEAST_USED: min(uses),
            # Such a sender posts less than one message a second: its window is that much longer.
            _WORST: max(worst_window(posts, seconds=length) for posts in by_sender),
            **whole_figures(backlog, posted, missing=missing),
        }
    }


def many_senders_bounds(_sizes: Sizes) -> list[Bound]:
    """What must hold, even if a timer is late by some tenths of a second."""
    return [
        Bound(side=MANY, figure=_LEAST_USED, at_least=98),
        Bound(side=MANY, figure=_WORST, at_most=2),
        *whole_bounds(MANY),
    ]


OUTAGE = "after an outage"
_SHARE = "posted, as long as they were away (% of the rate)"
_OUTAGE_SENDER = "+15005560003"
_INTO_THE_BACKLOG = 3.0
"""Seconds from the first reserved time until the workers are killed."""
_BEYOND = 1.25
"""The length of the backlog, in outages: what is due later competes with what was due in it."""
_URGENT_BEFORE = 5
_CLAIMED_WITHIN = 0.5
"""Seconds until they are claimed; the last of them are not posted by then."""
_URGENT_SEGMENTS = 4
"""Enough for a burst of them to show: this machine posts few messages a second."""


async def after_an_outage(fixture: PacingFixture) -> dict[str, Sample]:
    """Measure it."""
    backlogs, sizes = fixture.backlogs, fixture.sizes
    rate, segments = sizes.cut_off_rate, sizes.paced_segments
    seconds = _INTO_THE_BACKLOG + _BEYOND * sizes.outage_seconds
    backlog = await fixture.fill(
        [_OUTAGE_SENDER], each=round(seconds * rate / segments), segments=segments, rate=rate
    )
    await until(backlog.begins_at + _INTO_THE_BACKLOG - _CLAIMED_WITHIN)
    for _ in range(_URGENT_BEFORE):
        await _start_urgent(fixture)
    await until(backlog.begins_at + _INTO_THE_BACKLOG)
    workers = fixture.environment.side(PRODUCT).workers
    for worker in workers:
        await asyncio.to_thread(worker.kill)
    away_until = time.time() + sizes.outage_seconds
    while time.time() < away_until:
        await _start_urgent(fixture)
        await asyncio.sleep(_URGENT_EVERY_SECONDS)
    back_at = time.time()
    for worker in workers:
        await asyncio.to_thread(worker.start)
    missing = await backlogs.until_posted(within=fixture.timeout(backlog, 2 * seconds))
    posted = await backlogs.posted()
    posts = [post for post in posted.of(_OUTAGE_SENDER) if post.at >= back_at]
    soon = [post for post in posts if post.at < back_at + sizes.outage_seconds]
    return {
        OUTAGE: {
            "messages": backlog.messages,
            "segments": backlog.messages * segments,
            **pace_figures(posted, _OUTAGE_SENDER, rate=rate, since=back_at),
            "segments posted": sum(post.segments for post in posts),
            _SHARE: 100 * sum(post.segments for post in soon) / (rate * sizes.outage_seconds),
            "seconds to the first POST": min((post.at for post in posts), default=back_at)
            - back_at,
            **whole_figures(backlog, posted, missing=missing),
        }
    }


def outage_bounds(sizes: Sizes) -> list[Bound]:
    """What must hold; a worker needs some seconds of a minute to start."""
    return [
        Bound(side=OUTAGE, figure=_SHARE, at_least=90),
        *pace_bounds(
            OUTAGE,
            rate=sizes.cut_off_rate,
            segments=sizes.paced_segments,
            urgent_segments=_URGENT_SEGMENTS,
        ),
        *whole_bounds(OUTAGE),
    ]


async def _start_urgent(fixture: PacingFixture) -> None:
    await fixture.backlogs.start(_OUTAGE_SENDER, segments=_URGENT_SEGMENTS, priority="urgent")


_MAX_SECONDS = 2400.0


async def run(sizes: Sizes) -> Report:
    """Measure it."""
    async with asyncio.timeout(_MAX_SECONDS):
        with fresh_stack() as (stack, group):
            environment = await set_up(stack, group)
            side = environment.side(PRODUCT)
            with environment.running(side):
                warm_up = await in_flight(
                    environment, side, messages=sizes.warm_up, concurrency=sizes.concurrency
                )
                with backlogs_of(environment) as backlogs:
                    fixture = PacingFixture(
                        environment, backlogs, sizes, seconds_a_message=warm_up / sizes.warm_up
                    )
                    await calibrate(fixture)
                    samples = await _every_line(fixture)
    return Report(
        benchmark="pacing",
        question="use of the rate, and waiting times",
        rounds=Rounds({side: [sample] for side, sample in samples.items()}),
        bounds=[
            *one_sender_bounds(sizes),
            *many_senders_bounds(sizes),
            *outage_bounds(sizes),
        ],
        conditions={
            "segments/s of one sender": sizes.paced_rate,
            "and of the one cut off": sizes.cut_off_rate,
            "segments of their texts": sizes.paced_segments,
            "senders": sizes.many_senders,
            "messages of each": sizes.each_sender,
            "segments/s of each": sizes.slow_rate,
            "seconds without workers": sizes.outage_seconds,
        },
    )


async def _every_line(fixture: PacingFixture) -> dict[str, Sample]:
    samples: dict[str, Sample] = {}
    for measure in (
        behind_one_sender,
        many_senders,
        after_an_outage,
    ):
        started = time.monotonic()
        found = await measure(fixture)
        for side, sample in found.items():
            log_progress(f"{side}, after {time.monotonic() - started:.0f} s", sample)
        samples |= found
    return samples
