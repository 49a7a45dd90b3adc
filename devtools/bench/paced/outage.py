"""A line at one sender while no worker runs: what was due then is posted later, at its pace.

Urgent messages come just before the workers are killed, which then hold claims, and while they are
away. Measured from the moment the workers are started again until everything is posted.
"""

import asyncio
import time

from devtools.bench.harness.figures import Bound, Sample
from devtools.bench.harness.house import OURS
from devtools.bench.harness.sizes import Sizes
from devtools.bench.paced.ground import (
    Ground,
    pace_bounds,
    pace_figures,
    until,
    whole_bounds,
    whole_figures,
)

OUTAGE = "after an outage"
_SHARE = "posted, as long as they were away (% of the rate)"
_SENDER = "+15005560003"
_INTO_THE_LINE = 3.0
"""Seconds from the first slot until the workers are killed."""
_BEYOND = 1.25
"""So long is the line, in outages: what comes after one competes with what was due in it."""
_URGENT_BEFORE = 5
_CLAIMED_WITHIN = 0.5
"""Seconds until they are claimed; the last of them are not posted by then."""
_URGENT_EVERY_SECONDS = 2.0
_URGENT_SEGMENTS = 4
"""So many that a burst of them would show: this machine posts few messages a second."""


async def after_an_outage(ground: Ground) -> dict[str, Sample]:
    """Measure it."""
    lines, sizes = ground.lines, ground.sizes
    rate, segments = sizes.cut_off_rate, sizes.paced_segments
    seconds = _INTO_THE_LINE + _BEYOND * sizes.outage_seconds
    line = await ground.line_up(
        [_SENDER], each=round(seconds * rate / segments), segments=segments, rate=rate
    )
    await until(line.begins_at + _INTO_THE_LINE - _CLAIMED_WITHIN)
    for _ in range(_URGENT_BEFORE):
        await _hand_in_urgent(ground)
    await until(line.begins_at + _INTO_THE_LINE)
    workers = ground.house.side(OURS).workers
    for worker in workers:
        await asyncio.to_thread(worker.kill)
    away_until = time.time() + sizes.outage_seconds
    while time.time() < away_until:
        await _hand_in_urgent(ground)
        await asyncio.sleep(_URGENT_EVERY_SECONDS)
    back_at = time.time()
    for worker in workers:
        await asyncio.to_thread(worker.start)
    missing = await lines.until_posted(within=ground.patience(line, 2 * seconds))
    posted = await lines.posted()
    posts = [post for post in posted.of(_SENDER) if post.at >= back_at]
    soon = [post for post in posts if post.at < back_at + sizes.outage_seconds]
    return {
        OUTAGE: {
            "messages": line.messages,
            "segments": line.messages * segments,
            **pace_figures(posted, _SENDER, rate=rate, since=back_at),
            "segments posted": sum(post.segments for post in posts),
            _SHARE: 100 * sum(post.segments for post in soon) / (rate * sizes.outage_seconds),
            "seconds to the first POST": min((post.at for post in posts), default=back_at)
            - back_at,
            **whole_figures(line, posted, missing=missing),
        }
    }


def bounds(sizes: Sizes) -> list[Bound]:
    """What must hold: of a minute, a worker needs some seconds to start."""
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


async def _hand_in_urgent(ground: Ground) -> None:
    await ground.lines.hand_in(_SENDER, segments=_URGENT_SEGMENTS, priority="urgent")
