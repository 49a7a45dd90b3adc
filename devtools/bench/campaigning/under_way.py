"""The large campaign on a worker: paused now and then, resumed, and canceled in the end."""

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from temporalio.client import WorkflowHandle

from devtools.bench.campaigning.desk import Desk
from devtools.bench.harness.figures import Bound, Sample
from devtools.bench.harness.house import OURS
from devtools.bench.harness.meter import resident_megabytes
from devtools.bench.harness.sizes import Sizes
from signedfor.contract import (
    CANCEL_UPDATE,
    PAUSE_UPDATE,
    PROGRESS_QUERY,
    RESUME_UPDATE,
    CampaignProgress,
)

UNDER_WAY = "under way"
_SLOWEST_PAUSE = "pause answered, slowest (ms)"
_BEGUN = "POSTs begun after the answer"
_BETWEEN = "POSTs between two pauses, fewest"
_CANCELED = "cancel answered (ms)"
_BEGUN_CANCELED = "POSTs begun after the cancel's answer"
_LOOK_EVERY_SECONDS = 0.2
_PATIENCE_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Stop:
    """A time in which nothing of the campaign was to be sent, in epoch seconds."""

    asked_at: float
    answered_at: float
    """From here on nothing may be sent."""
    until: float
    """It was to go on then, or nobody looked any longer."""

    @property
    def answered_within(self) -> float:
        """Seconds from the question to the answer that it holds."""
        return self.answered_at - self.asked_at

    def after_its_answer(self, moments: Iterable[float]) -> list[float]:
        """Of these moments, those while it held: seconds after the answer."""
        return [at - self.answered_at for at in moments if self.answered_at < at < self.until]


async def under_way(desk: Desk, campaign_id: str, sizes: Sizes) -> dict[str, list[Sample]]:
    """Measure it on a campaign that is started, and on a worker that has just begun."""
    worker = desk.house.side(OURS).workers[0].pid
    before, since = resident_megabytes(worker), time.time()
    handle = desk.workflow(campaign_id)
    async with _looking_at(worker) as seen:
        await desk.until_posted(campaign_id, 1, since=since, within=_PATIENCE_SECONDS)
        started_at = time.time()
        pauses = [await _pause(handle, sizes) for _ in range(sizes.pauses)]
        await asyncio.sleep(sizes.pause_every_seconds)
        progress = await handle.query(PROGRESS_QUERY, result_type=CampaignProgress)
        cancel = await _stop(handle, CANCEL_UPDATE, seconds=sizes.pause_seconds)
    arrived = [row["created"] for row in desk.accepted(campaign_id, since=since)]
    begun = desk.begun(campaign_id)
    runs = runs_between(started_at, [*pauses, cancel])
    posted = [sum(begin <= at < end for at in arrived) for begin, end in runs]
    took = sum(end - begin for begin, end in runs)
    answered = [pause.answered_within * 1000 for pause in pauses]
    late = [after for pause in pauses for after in pause.after_its_answer(arrived)]
    return {
        UNDER_WAY: [
            {
                "rows": progress.rows,
                "rows/s": progress.dispatched / took,
                "posted (messages/s)": sum(posted) / took,
                "pauses": len(pauses),
                "pause answered (ms)": statistics.median(answered),
                _SLOWEST_PAUSE: max(answered),
                _BEGUN: sum(len(pause.after_its_answer(begun)) for pause in pauses),
                "POSTs that arrived after the answer": len(late),
                "the last of them after (ms)": max(late, default=0.0) * 1000,
                _BETWEEN: min(posted),
                _CANCELED: cancel.answered_within * 1000,
                _BEGUN_CANCELED: len(cancel.after_its_answer(begun)),
                "most memory (MB)": max(seen, default=before),
                "memory before (MB)": before,
            }
        ]
    }


def bounds() -> list[Bound]:
    """What must hold: before each pause there was something to stop, and after it it went on."""
    return [
        Bound(side=UNDER_WAY, figure=_SLOWEST_PAUSE, at_most=5000),
        Bound(side=UNDER_WAY, figure=_BEGUN, at_most=0),
        Bound(side=UNDER_WAY, figure=_BETWEEN, at_least=1),
        Bound(side=UNDER_WAY, figure=_CANCELED, at_most=5000),
        Bound(side=UNDER_WAY, figure=_BEGUN_CANCELED, at_most=0),
    ]


def runs_between(started_at: float, stops: Sequence[Stop]) -> list[tuple[float, float]]:
    """The times in which the campaign was to run: up to each stop, from the one before it."""
    first = Stop(asked_at=started_at, answered_at=started_at, until=started_at)
    return [(before.until, stop.asked_at) for before, stop in pairwise([first, *stops])]


async def _pause(handle: WorkflowHandle[Any, Any], sizes: Sizes) -> Stop:
    """Let it run a while, pause it, and let it go on."""
    await asyncio.sleep(sizes.pause_every_seconds)
    pause = await _stop(handle, PAUSE_UPDATE, seconds=sizes.pause_seconds)
    await handle.execute_update(RESUME_UPDATE)
    return pause


async def _stop(handle: WorkflowHandle[Any, Any], update: str, *, seconds: float) -> Stop:
    asked_at = time.time()
    await handle.execute_update(update)
    answered_at = time.time()
    await asyncio.sleep(seconds)
    return Stop(asked_at=asked_at, answered_at=answered_at, until=time.time())


@contextlib.asynccontextmanager
async def _looking_at(pid: int) -> AsyncIterator[list[float]]:
    """How much memory the process has, again and again while the block runs."""
    seen: list[float] = []

    async def look() -> None:
        while True:
            seen.append(resident_megabytes(pid))
            await asyncio.sleep(_LOOK_EVERY_SECONDS)

    looking = asyncio.create_task(look())
    try:
        yield seen
    finally:
        looking.cancel()
