"""A sender's pace on the real thing: is its rate used, is it kept, and who is made to wait?

Three lines of messages, one after the other, all waiting for their slots before the first slot
comes: long texts behind one fast long code, with urgent ones and another sender's in between; a few
at each of very many slow senders, all due at once; and once more long texts, with the workers
killed for a minute. When a POST arrives is told by the sandbox.
"""

import asyncio
import time
from collections.abc import Sequence

from bench.harness.figures import Bound, Rounds, Sample, percentiles
from bench.harness.house import OURS, House, furnish, open_stack
from bench.harness.loads import in_flight
from bench.harness.pace import used, worst_second
from bench.harness.report import Report
from bench.harness.rounds import tell
from bench.harness.sizes import Sizes
from bench.lines import Line, Lines, lines_of

BACKLOG, MANY, OUTAGE = "one sender", "many senders", "after an outage"
IDLE, BESIDE = "other sender, idle", "other sender, beside"
_USED = "use of the rate (%)"
_WORST = "worst second (x rate)"
_WORST_AT_GATE = "worst second at the gate (x rate)"
_MISSING = "not posted"
_TO_SPARE = "set up before the first slot (s)"
_WAIT = "start to POST "
_BUSY_SENDER, _OTHER_SENDER, _CUT_OFF_SENDER = "+15005560001", "+15005560002", "+15005560003"
_TRIED_SENDER = "+15005560004"
_SLOW_SENDERS = "+1500557{:04d}"
_SLOW_RATE = 1.0
_URGENT_EVERY_SECONDS = 2.0
_OTHER_EVERY_SECONDS = 1.0
_IDLE_EVERY_SECONDS = 0.3
_MIDDLE = 0.15, 0.85
"""The part of the backlog's time in which the others come."""
_INTO_THE_LINE = 3.0
"""Seconds from the first slot until the workers are killed."""
_AMPLE = 2.0
"""Times what the machine has shown: it may get slower."""
_PATIENCE = 60.0
_LONGEST_SECONDS = 1500.0


async def run(sizes: Sizes) -> Report:
    """Measure it."""
    async with asyncio.timeout(_LONGEST_SECONDS):
        with open_stack() as (stack, group):
            house = await furnish(stack, group)
            side = house.side(OURS)
            with house.running(side):
                warm_up = await in_flight(
                    house, side, messages=sizes.warm_up, at_once=sizes.at_once
                )
                with lines_of(house) as lines:
                    ground = Ground(house, lines, sizes, seconds_a_life=warm_up / sizes.warm_up)
                    await try_out(ground)
                    samples = await _every_line(ground)
    return Report(
        benchmark="pacing",
        question="the rate used and kept, and who waits",
        rounds=Rounds({side: [sample] for side, sample in samples.items()}),
        bounds=[
            Bound(side=BACKLOG, figure=_USED, at_least=98),
            Bound(side=BACKLOG, figure="urgent p99 (ms)", at_most=2000),
            Bound(side=BESIDE, figure=f"{_WAIT}p95 (ms)", at_most=3, against=IDLE),
            *(
                Bound(side=side, figure=figure, at_most=at_most, at_least=at_least)
                for side in (BACKLOG, MANY, OUTAGE)
                for figure, at_least, at_most in (
                    (_WORST, None, 2),
                    (_TO_SPARE, 0, None),
                    (_MISSING, None, 0),
                )
                if figure in samples[side]
            ),
        ],
        conditions={
            "segments/s of one sender": sizes.paced_rate,
            "and of the one cut off": sizes.cut_off_rate,
            "segments of their texts": sizes.paced_segments,
            "senders": sizes.many_senders,
            "messages of each": sizes.each_sender,
            "segments/s of each": _SLOW_RATE,
            "seconds without workers": sizes.outage_seconds,
        },
    )


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
        self, senders: Sequence[str], *, each: int, segments: int, rate: float
    ) -> Line:
        """Have them wait, with as much of a head start as this machine is likely to need."""
        line = await self.lines.line_up(
            senders,
            each=each,
            segments=segments,
            rate=rate,
            head_start=_AMPLE * self._seconds_to_wait * each * len(senders),
        )
        self._seconds_to_wait = line.set_up_seconds / line.messages
        return line

    def patience(self, line: Line, seconds: float) -> float:
        """How long to wait for the line's end: by the rate, and by what the machine can do."""
        until_begun = max(0.0, line.begins_at - time.time())
        return until_begun + seconds + _AMPLE * self._seconds_a_life * line.messages + _PATIENCE


async def _every_line(ground: Ground) -> dict[str, Sample]:
    samples: dict[str, Sample] = {}
    for measure in (behind_one_sender, many_senders, after_an_outage):
        begun = time.monotonic()
        found = await measure(ground)
        for side, sample in found.items():
            tell(f"{side}, after {time.monotonic() - begun:.0f} s", sample)
        samples |= found
    return samples


async def try_out(ground: Ground) -> None:
    """A short line that nobody measures: from it the ground knows what a long one will need."""
    line = await ground.line_up([_TRIED_SENDER], each=ground.sizes.warm_up, segments=1, rate=100)
    await ground.lines.until_posted(within=ground.patience(line, line.messages / 100))


async def behind_one_sender(ground: Ground) -> dict[str, Sample]:
    """A long line at one sender; amid it urgent messages, and another sender's."""
    lines, sizes = ground.lines, ground.sizes
    rate, segments = sizes.paced_rate, sizes.paced_segments
    idle = await lines.hand_in_at_rate(
        _OTHER_SENDER, count=sizes.idle_messages, rate=1 / _IDLE_EVERY_SECONDS
    )
    line = await ground.line_up(
        [_BUSY_SENDER], each=sizes.paced_messages, segments=segments, rate=rate
    )
    seconds = line.messages * segments / rate
    begin, end = (line.begins_at + part * seconds for part in _MIDDLE)
    await _until(begin)
    urgent, beside = await asyncio.gather(
        *(
            lines.hand_in_at_rate(
                sender, count=max(2, round((end - begin) / every)), rate=1 / every, **fields
            )
            for sender, every, fields in (
                (_BUSY_SENDER, _URGENT_EVERY_SECONDS, {"priority": "urgent"}),
                (_OTHER_SENDER, _OTHER_EVERY_SECONDS, {}),
            )
        )
    )
    missing = await lines.until_posted(within=ground.patience(line, seconds))
    posted = await lines.posted()
    posts = posted.of(_BUSY_SENDER)
    return {
        BACKLOG: {
            "messages": line.messages,
            "segments": line.messages * segments,
            _USED: 100 * used(posts, rate=rate),
            _WORST: worst_second(posts) / rate,
            _WORST_AT_GATE: worst_second(posted.at_gate(_BUSY_SENDER)) / rate,
            **percentiles(posted.waits(urgent), "urgent "),
            _MISSING: missing,
            _TO_SPARE: line.to_spare,
        },
        IDLE: percentiles(posted.waits(idle), _WAIT),
        BESIDE: percentiles(posted.waits(beside), _WAIT),
    }


async def many_senders(ground: Ground) -> dict[str, Sample]:
    """A few messages at each of very many senders, all due at the same time."""
    lines, sizes = ground.lines, ground.sizes
    senders = [_SLOW_SENDERS.format(number) for number in range(sizes.many_senders)]
    line = await ground.line_up(senders, each=sizes.each_sender, segments=1, rate=_SLOW_RATE)
    by_rate = (sizes.each_sender - 1) / _SLOW_RATE
    missing = await lines.until_posted(within=ground.patience(line, by_rate))
    posted = await lines.posted()
    by_sender = [posted.of(sender) for sender in senders]
    arrived = [post.at - line.begins_at for posts in by_sender for post in posts]
    return {
        MANY: {
            "messages": line.messages,
            "segments": line.messages,
            _WORST: max(worst_second(posts) for posts in by_sender) / _SLOW_RATE,
            _WORST_AT_GATE: max(worst_second(posted.at_gate(sender)) for sender in senders)
            / _SLOW_RATE,
            "seconds by the rates alone": by_rate,
            **(
                {"seconds": max(arrived), "messages/s": len(arrived) / max(arrived)}
                if arrived
                else {}
            ),
            _MISSING: missing,
            _TO_SPARE: line.to_spare,
        }
    }


async def after_an_outage(ground: Ground) -> dict[str, Sample]:
    """A line at one sender while no worker runs, and as long again with workers."""
    lines, sizes = ground.lines, ground.sizes
    rate, segments = sizes.cut_off_rate, sizes.paced_segments
    due = 2 * sizes.outage_seconds + _INTO_THE_LINE
    line = await ground.line_up(
        [_CUT_OFF_SENDER], each=round(due * rate / segments), segments=segments, rate=rate
    )
    await _until(line.begins_at + _INTO_THE_LINE)
    workers = ground.house.side(OURS).workers
    for worker in workers:
        await asyncio.to_thread(worker.kill)
    await asyncio.sleep(sizes.outage_seconds)
    back_at = time.time()
    for worker in workers:
        await asyncio.to_thread(worker.start)
    await _until(time.time() + sizes.outage_seconds)
    posted = await lines.posted()
    posts, passed = (
        [post for post in series if post.at >= back_at]
        for series in (posted.of(_CUT_OFF_SENDER), posted.at_gate(_CUT_OFF_SENDER))
    )
    return {
        OUTAGE: {
            "messages": line.messages,
            "segments": line.messages * segments,
            _USED: 100 * used(posts, rate=rate),
            _WORST: worst_second(posts) / rate,
            _WORST_AT_GATE: worst_second(passed) / rate,
            "segments posted": sum(post.segments for post in posts),
            "seconds to the first POST": min((post.at for post in posts), default=back_at)
            - back_at,
            _TO_SPARE: line.to_spare,
        }
    }


async def _until(moment: float) -> None:
    """Sleep until then, by the clock."""
    await asyncio.sleep(max(0.0, moment - time.time()))
