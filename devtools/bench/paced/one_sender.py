"""A long line at one sender; amid it come urgent messages of that sender, and another sender's.

What a backlog does to the other sender shows beside a control: the first sender posts as fast, but
each of its messages is handed in when it is due, so that none waits. Half of the control comes
before the line and half after it, because the server slows down as its database grows.
"""

import asyncio

from devtools.bench.harness.figures import Bound, Sample, percentiles
from devtools.bench.harness.sizes import Sizes
from devtools.bench.paced.ground import (
    USED,
    WAIT,
    Ground,
    pace_bounds,
    pace_figures,
    until,
    whole_bounds,
    whole_figures,
)

BACKLOG = "one sender"
IDLE, ALONE, BESIDE = "other sender, idle", "other, no backlog", "other, beside it"
_BUSY_SENDER, _OTHER_SENDER, _STEADY_SENDER = "+15005560001", "+15005560002", "+15005560005"
_URGENT_EVERY_SECONDS = 2.0
_OTHER_EVERY_SECONDS = 1.0
_IDLE_EVERY_SECONDS = 0.3
_MIDDLE = 0.15, 0.85
"""The part of the backlog's time in which the others come."""

_Due = dict[str, float]


async def behind_one_sender(ground: Ground) -> dict[str, Sample]:
    """Measure it."""
    lines, sizes = ground.lines, ground.sizes
    rate, segments = sizes.paced_rate, sizes.paced_segments
    seconds = sizes.paced_messages * segments / rate
    half_of_control = (_MIDDLE[1] - _MIDDLE[0]) * seconds / 2
    idle = await lines.hand_in_at_rate(
        _OTHER_SENDER, count=sizes.idle_messages, rate=1 / _IDLE_EVERY_SECONDS
    )
    alone = await _without_a_backlog(ground, half_of_control)
    line = await ground.line_up(
        [_BUSY_SENDER], each=sizes.paced_messages, segments=segments, rate=rate
    )
    begin, end = (line.begins_at + part * seconds for part in _MIDDLE)
    await until(begin)
    urgent, beside = await _others(ground, _BUSY_SENDER, end - begin)
    missing = await lines.until_posted(within=ground.patience(line, seconds))
    alone |= await _without_a_backlog(ground, half_of_control)
    posted = await lines.posted()
    return {
        BACKLOG: {
            "messages": line.messages,
            "segments": line.messages * segments,
            **pace_figures(posted, _BUSY_SENDER, rate=rate),
            **percentiles(posted.waits(urgent), "urgent "),
            **whole_figures(line, posted, missing=missing),
        },
        IDLE: percentiles(posted.waits(idle), WAIT),
        ALONE: percentiles(posted.waits(alone), WAIT),
        BESIDE: percentiles(posted.waits(beside), WAIT),
    }


def bounds(sizes: Sizes) -> list[Bound]:
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


async def _without_a_backlog(ground: Ground, seconds: float) -> _Due:
    """The other sender's messages, while the first one posts at its rate what is due just then."""
    sizes = ground.sizes
    await ground.lines.set_rate(_STEADY_SENDER, sizes.paced_rate)
    # With the urgent ones, which have a segment each, it is its rate and no more.
    pace = (sizes.paced_rate - 1 / _URGENT_EVERY_SECONDS) / sizes.paced_segments
    steady = ground.lines.hand_in_at_rate(
        _STEADY_SENDER,
        count=round(seconds * pace),
        rate=pace,
        segments=sizes.paced_segments,
    )
    (_, others), _ = await asyncio.gather(_others(ground, _STEADY_SENDER, seconds), steady)
    return others


async def _others(ground: Ground, sender: str, seconds: float) -> tuple[_Due, _Due]:
    """Urgent messages of the sender, and the other sender's; when each was due, by its id."""
    urgent, others = await asyncio.gather(
        *(
            ground.lines.hand_in_at_rate(
                each, count=max(2, round(seconds / every)), rate=1 / every, **fields
            )
            for each, every, fields in (
                (sender, _URGENT_EVERY_SECONDS, {"priority": "urgent"}),
                (_OTHER_SENDER, _OTHER_EVERY_SECONDS, {}),
            )
        )
    )
    return urgent, others
