"""What the lines share: the house, how fast this machine is, and the figures of every line."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from devtools.bench.harness.figures import Bound, Sample
from devtools.bench.harness.house import House
from devtools.bench.harness.pace import Post, after_the_first, used, worst_window
from devtools.bench.harness.sizes import Sizes
from devtools.bench.paced.lines import Line, Lines, Posted
from signedfor.store.rate_limiter_statements import BURST_TOLERANCE, URGENT_BURST_TOLERANCE

USED: Final = "use of the rate (%)"
WORST: Final = "worst second (x rate)"
WORST_LATER: Final = "worst second after the first (x rate)"
MISSING: Final = "not posted"
TWICE: Final = "posted twice"
TO_SPARE: Final = "set up before the first slot (s)"
WAIT: Final = "start to POST "
_WORST_AT_GATE = "worst second at the gate (x rate)"
_TRIED_SENDER = "+15005560004"
_AMPLE = 2.0
"""Times what the machine has shown: it may get slower."""
_PATIENCE = 60.0


class Ground:
    """What the scenarios share, and how fast this machine is."""

    def __init__(self, house: House, lines: Lines, sizes: Sizes, *, seconds_a_life: float) -> None:
        self.house = house
        self.lines = lines
        self.sizes = sizes
        self._seconds_a_life = seconds_a_life
        self._seconds_to_wait = seconds_a_life
        """A message takes so long until it waits; less than its whole life."""

    async def line_up(
        self, senders: Sequence[str], *, each: int, segments: int, rate: float, apart: float = 0.0
    ) -> Line:
        """Have them wait, with as much of a head start as this machine is likely to need."""
        line = await self.lines.line_up(
            senders,
            each=each,
            segments=segments,
            rate=rate,
            head_start=_AMPLE * self._seconds_to_wait * each * len(senders),
            apart=apart,
        )
        self._seconds_to_wait = line.set_up_seconds / line.messages
        return line

    def patience(self, line: Line, seconds: float) -> float:
        """How long to wait for the line's end: by the rate, and by what the machine can do."""
        until_begun = max(0.0, line.begins_at - time.time())
        return until_begun + seconds + _AMPLE * self._seconds_a_life * line.messages + _PATIENCE


async def try_out(ground: Ground) -> None:
    """A short line that nobody measures: from it the ground knows what a long one will need."""
    line = await ground.line_up([_TRIED_SENDER], each=ground.sizes.warm_up, segments=1, rate=100)
    await ground.lines.until_posted(within=ground.patience(line, line.messages / 100))


async def until(moment: float) -> None:
    """Sleep until then, by the clock."""
    await asyncio.sleep(max(0.0, moment - time.time()))


def pace_figures(
    posted: Posted, sender: str, *, rate: float, since: float = 0.0
) -> dict[str, float]:
    """How one sender kept its pace, from a moment on."""
    posts, passed = (
        [post for post in series if post.at >= since]
        for series in (posted.of(sender), posted.at_gate(sender))
    )
    return {
        USED: 100 * used(posts, rate=rate),
        WORST: _times(rate, posts),
        WORST_LATER: _times(rate, after_the_first(posts)),
        _WORST_AT_GATE: _times(rate, passed),
    }


def whole_figures(line: Line, posted: Posted, *, missing: int) -> Sample:
    """That all of a line was posted, and once; and that it waited before its time came."""
    return {
        MISSING: missing,
        TWICE: posted.twice(*line.senders),
        TO_SPARE: line.to_spare,
    }


def whole_bounds(side: str) -> list[Bound]:
    """What must hold of `whole_figures`."""
    return [
        Bound(side=side, figure=MISSING, at_most=0),
        Bound(side=side, figure=TWICE, at_most=0),
        Bound(side=side, figure=TO_SPARE, at_least=0),
    ]


def pace_bounds(side: str, *, rate: float, segments: int, urgent_segments: int) -> list[Bound]:
    """What must hold of a sender's seconds.

    In any second twice the rate at most: at its start the gate lets a second's worth by in advance.
    In a later one less: the gate lets a message by while the sender is busy for at most BURST_TOLERANCE
    from then on, or URGENT_BURST_TOLERANCE if it is urgent. So the last of a second's messages finds the
    sender busy for that much beyond the second, and adds its own length.
    """
    ahead = max(BURST_TOLERANCE + segments / rate, URGENT_BURST_TOLERANCE + urgent_segments / rate)
    return [
        Bound(side=side, figure=WORST, at_most=2),
        Bound(side=side, figure=WORST_LATER, at_most=1 + ahead),
    ]


def _times(rate: float, posts: Sequence[Post]) -> float:
    return worst_window(posts) / rate
