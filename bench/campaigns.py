"""A campaign's way: its rows are checked, loaded, handed over to Temporal, and stopped.

Checking and loading are the real command on a large file. Then a campaign is under way on a worker,
at a sender that is faster than this machine, and is paused now and then. Last, without a worker,
pages of rows are handed over by the activity that does it, in turn with a bare loop that starts
the floor's workflows with the same client, as many at once.
"""

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError
from temporalio.service import RPCError
from temporalio.testing import ActivityEnvironment

from activities.campaigns import AT_A_TIME, CampaignFeed
from bench.desk import BODY, SENDER, Desk, desk_of, new_id, write_rows
from bench.harness.commands import run_command
from bench.harness.figures import Bound, Rounds, Sample
from bench.harness.house import FLOOR, OURS, furnish, open_stack
from bench.harness.loads import in_flight
from bench.harness.meter import resident_megabytes
from bench.harness.report import Report
from bench.harness.sizes import Sizes
from messaging.campaign_steps import HandOverRequest
from messaging.contract import (
    CANCEL_UPDATE,
    PAUSE_UPDATE,
    PROGRESS_QUERY,
    RESUME_UPDATE,
    CampaignProgress,
)
from stack.processes import basic_environment

CHECKED, LOADED, UNDER_WAY = "dry run", "start", "under way"
HANDED_OVER, BARE = "hand-over", "bare starts"
_ROWS = "rows/s"
_SECONDS = "seconds"
_CPU = "CPU seconds"
_MEMORY = "most memory (MB)"
_SLOWEST_PAUSE = "pause answered, slowest (ms)"
_BEGUN = "POSTs begun after the answer"
_COMMAND_SECONDS = 240
_LOOK_EVERY_SECONDS = 0.2
_LONGEST_SECONDS = 900.0


class NotMeasured(Exception):
    """Something else happened than was to be measured: there is no figure."""


@dataclass(frozen=True, kw_only=True)
class Pause:
    """A pause of a campaign, in epoch seconds."""

    answered_within: float
    """Seconds from the question to the answer that it holds."""
    answered_at: float
    resumed_at: float

    @property
    def lasted(self) -> float:
        """Seconds from the question until it was to go on."""
        return self.answered_within + self.resumed_at - self.answered_at

    def after_its_answer(self, moments: Iterable[float]) -> list[float]:
        """Of these moments, those while it held: seconds after the answer."""
        return [at - self.answered_at for at in moments if self.answered_at < at < self.resumed_at]


async def run(sizes: Sizes) -> Report:
    """Measure it."""
    async with asyncio.timeout(_LONGEST_SECONDS):
        with open_stack() as (stack, group):
            house = await furnish(stack, group)
            side = house.side(OURS)
            with desk_of(house) as desk:
                samples = await check_and_load(desk, rows=sizes.rows)
                with house.running(side):
                    await in_flight(house, side, messages=sizes.warm_up, at_once=sizes.at_once)
                    samples |= await under_way(desk, sizes)
                samples |= await hand_over(desk, sizes)
    return Report(
        benchmark="campaigns",
        question=f"{sizes.rows:,} rows checked and loaded, rows handed over, pauses",
        rounds=Rounds(samples),
        bounds=[
            Bound(side=CHECKED, figure=_SECONDS, at_most=10),
            Bound(side=UNDER_WAY, figure=_SLOWEST_PAUSE, at_most=5000),
            Bound(side=UNDER_WAY, figure=_BEGUN, at_most=0),
            Bound(side=HANDED_OVER, figure=_ROWS, at_least=0.7, against=BARE),
        ],
        conditions={
            "rows of the file": sizes.rows,
            "seconds before each pause": sizes.pause_every_seconds,
            "pages handed over": sizes.campaign_rows // sizes.campaign_page,
            "rows a page": sizes.campaign_page,
            "started at once": AT_A_TIME,
        },
    )


async def check_and_load(desk: Desk, *, rows: int) -> dict[str, list[Sample]]:
    """The command on a large file, first as a dry run; what it starts is forgotten."""
    stack = desk.house.stack
    file, campaign_id = stack.folder / "recipients.csv", new_id()
    write_rows(file, rows)
    arguments = ["campaign", "start", str(file), "--from", SENDER, "--body", BODY]
    dry, whole = [
        await asyncio.to_thread(
            run_command,
            *arguments,
            "--id",
            campaign_id,
            option,
            environment={**basic_environment(stack.folder), **stack.settings},
            log=stack.folder / "logs" / f"campaign{option}.log",
            within=_COMMAND_SECONDS,
        )
        for option in ("--dry-run", "--yes")
    ]
    loaded = desk.campaigns.find(campaign_id)
    if loaded is None or loaded.rows != rows:
        raise NotMeasured("`campaign start` ended well, and the rows are not in the database.")
    loading = (loaded.since - loaded.created_at).total_seconds()
    await desk.forget(campaign_id)
    return {
        CHECKED: [
            {
                _SECONDS: dry.seconds,
                _CPU: dry.cpu_seconds,
                _ROWS: rows / dry.seconds,
                _MEMORY: dry.most_megabytes,
            }
        ],
        LOADED: [
            {
                _SECONDS: whole.seconds,
                _CPU: whole.cpu_seconds,
                _ROWS: rows / whole.seconds,
                "loading alone (rows/s)": rows / loading,
                _MEMORY: whole.most_megabytes,
            }
        ],
    }


async def under_way(desk: Desk, sizes: Sizes) -> dict[str, list[Sample]]:
    """A campaign that a worker carries out, paused now and then; canceled in the end."""
    campaign_id = desk.loaded(sizes.campaign_rows)
    worker = desk.house.side(OURS).workers[0].pid
    before, begun_at = resident_megabytes(worker), time.time()
    async with _looking_at(worker) as seen:
        handle = await desk.started(campaign_id)
        pauses = await _pauses(handle, sizes)
        took = time.time() - begun_at - sum(pause.lasted for pause in pauses)
        progress = await handle.query(PROGRESS_QUERY, result_type=CampaignProgress)
    with contextlib.suppress(WorkflowUpdateFailedError, RPCError):  # it may have finished
        await handle.execute_update(CANCEL_UPDATE)
    arrived, begun = desk.arrived(since=begun_at), desk.begun(campaign_id)
    answered = [pause.answered_within * 1000 for pause in pauses]
    late = [after for pause in pauses for after in pause.after_its_answer(arrived)]
    return {
        UNDER_WAY: [
            {
                _ROWS: progress.handed_over / took,
                "posted (messages/s)": len(arrived) / took,
                "pauses": len(pauses),
                "pause answered (ms)": statistics.median(answered),
                _SLOWEST_PAUSE: max(answered),
                _BEGUN: sum(len(pause.after_its_answer(begun)) for pause in pauses),
                "POSTs that arrived after the answer": len(late),
                "the last of them after (ms)": max(late, default=0.0) * 1000,
                _MEMORY: max(seen, default=before),
                "memory before (MB)": before,
            }
        ]
    }


async def hand_over(desk: Desk, sizes: Sizes) -> dict[str, list[Sample]]:
    """Page after page by the activity itself, in turn with as many bare starts."""
    rows = sizes.campaign_page
    sides = {HANDED_OVER: _hand_over_a_page, BARE: _start_a_page}
    found: dict[str, list[Sample]] = {side: [] for side in sides}
    for number in range(sizes.campaign_rows // rows):
        for side in sorted(sides, reverse=bool(number % 2)):
            found[side].append({_ROWS: rows / await sides[side](desk, rows)})
    return found


async def _hand_over_a_page(desk: Desk, rows: int) -> float:
    feed = CampaignFeed(desk.campaigns, desk.pacing, desk.house.client, page=rows)
    request = HandOverRequest(campaign_id=desk.loaded(rows), after_row=0)
    begun = time.perf_counter()
    handed = await ActivityEnvironment().run(feed.hand_over, request)
    seconds = time.perf_counter() - begun
    if handed.last_row != rows:
        raise NotMeasured(f"Of a page of {rows} rows {handed.last_row} were handed over.")
    return seconds


async def _start_a_page(desk: Desk, rows: int) -> float:
    left, floor = iter(range(rows)), desk.house.side(FLOOR)

    async def start_the_rest() -> None:
        for _ in left:
            await desk.house.hand_in(floor)

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(AT_A_TIME):
            group.create_task(start_the_rest())
    return time.perf_counter() - begun


async def _pauses(handle: WorkflowHandle[Any, Any], sizes: Sizes) -> list[Pause]:
    """Let the campaign run a while and pause it; as often as wanted, or until it is over."""
    pauses: list[Pause] = []
    with contextlib.suppress(WorkflowUpdateFailedError):
        for _ in range(sizes.pauses):
            await asyncio.sleep(sizes.pause_every_seconds)
            asked_at = time.perf_counter()
            await handle.execute_update(PAUSE_UPDATE)
            answered_within, answered_at = time.perf_counter() - asked_at, time.time()
            await asyncio.sleep(sizes.pause_seconds)
            pauses.append(
                Pause(
                    answered_within=answered_within,
                    answered_at=answered_at,
                    resumed_at=time.time(),
                )
            )
            await handle.execute_update(RESUME_UPDATE)
    if not pauses:
        raise NotMeasured("The campaign was over before it was paused: it needs more rows.")
    return pauses


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
