"""A campaign: its rows are checked, loaded and dispatched, and it is paused and canceled.

Checking and loading run the real command on a large file, and on a small one to compare its memory.
The large campaign then runs on a worker, with a sender that is faster than this machine; it is
paused several times, and canceled. A smaller one runs to its end while its worker is killed. Last,
without a worker, pages of rows are dispatched by the activity that does it, alternating with a loop
that starts the baseline's workflows with the same client and the same concurrency.
"""

import asyncio
import contextlib
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from temporalio.client import WorkflowHandle

from activities.campaigns import CONCURRENT_STARTS
from devtools.bench.campaign_fixture import (
    BODY,
    SENDER,
    CampaignFixture,
    NotMeasured,
    campaign_fixture,
    new_id,
    recipients,
    write_rows,
)
from devtools.bench.environment import BASELINE, PRODUCT, fresh_stack, log_progress, set_up
from devtools.bench.figures import Bound, Rounds, Sample
from devtools.bench.processes import Ran, resident_megabytes, run_command
from devtools.bench.report import Report
from devtools.bench.sizes import Sizes
from devtools.stack.processes import basic_environment
from signedfor.contract import (
    CANCEL_UPDATE,
    PAUSE_UPDATE,
    PROGRESS_QUERY,
    RESUME_UPDATE,
    CampaignProgress,
)

CHECKED, LOADED = "dry run", "start"
CHECKED_FEW, LOADED_FEW = "dry run, few rows", "start, few rows"
_SECONDS = "seconds"
_MAX_MEMORY = "max memory (MB)"
_COMMAND_TIMEOUT_SECONDS = 240


async def check_and_load(
    fixture: CampaignFixture, *, rows: int, few: int
) -> tuple[dict[str, list[Sample]], str]:
    """Both files, each first as a dry run; and the id of the large campaign, which is running."""
    samples: dict[str, list[Sample]] = {}
    for count, checked, started in (few, CHECKED_FEW, LOADED_FEW), (rows, CHECKED, LOADED):
        campaign_id = new_id()
        dry = await start_campaign(fixture, campaign_id, count, "--dry-run")
        whole = await start_campaign(fixture, campaign_id, count)
        samples[checked] = [_command_figures(dry, count)]
        loading = _seconds_of_loading(fixture, campaign_id, count)
        samples[started] = [
            {**_command_figures(whole, count), "loading alone (rows/s)": count / loading}
        ]
        if count == few:
            await fixture.discard(campaign_id)
    return samples, campaign_id


def command_bounds() -> list[Bound]:
    """What must hold; among other things, memory does not grow with the file."""
    return [
        Bound(side=CHECKED, figure=_SECONDS, at_most=10),
        Bound(side=CHECKED, figure=_MAX_MEMORY, at_most=1.5, against=CHECKED_FEW),
        Bound(side=LOADED, figure=_MAX_MEMORY, at_most=1.5, against=LOADED_FEW),
    ]


async def start_campaign(
    fixture: CampaignFixture, campaign_id: str, rows: int, *options: str
) -> Ran:
    """Run `campaign start` on a file of so many rows."""
    stack = fixture.environment.stack
    file = stack.folder / f"{campaign_id}.csv"
    write_rows(file, rows)
    return await asyncio.to_thread(
        run_command,
        *("campaign", "start", str(file), "--from", SENDER, "--body", BODY),
        *("--id", campaign_id, "--yes", *options),
        environment={**basic_environment(stack.folder), **stack.settings},
        log=stack.folder / "logs" / "campaign-start.log",
        within=_COMMAND_TIMEOUT_SECONDS,
    )


def _command_figures(ran: Ran, rows: int) -> dict[str, float]:
    return {
        "rows": rows,
        _SECONDS: ran.seconds,
        "CPU seconds": ran.cpu_seconds,
        "rows/s": rows / ran.seconds,
        _MAX_MEMORY: ran.max_megabytes,
    }


def _seconds_of_loading(fixture: CampaignFixture, campaign_id: str, rows: int) -> float:
    loaded = fixture.campaigns.find(campaign_id)
    if loaded is None or loaded.rows != rows:
        raise NotMeasured("`campaign start` ended well, and the rows are not in the database.")
    return (loaded.since - loaded.created_at).total_seconds()


RUNNING = "running"
_SLOWEST_PAUSE = "pause answered, slowest (ms)"
_STARTED = "POSTs started after the answer"
_BETWEEN = "POSTs between two pauses, fewest"
_CANCELED = "cancel answered (ms)"
_STARTED_CANCELED = "POSTs started after the cancel's answer"
_SAMPLE_SECONDS = 0.2
_FIRST_POST_WITHIN_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Stop:
    """A period in which no message of the campaign may be sent, in epoch seconds."""

    asked_at: float
    answered_at: float
    """From here on no message may be sent."""
    until: float
    """The campaign was resumed then, or the measurement ended."""

    @property
    def answered_within(self) -> float:
        """Seconds from the update to its answer."""
        return self.answered_at - self.asked_at

    def after_its_answer(self, moments: Iterable[float]) -> list[float]:
        """Those of these times that are within the period, as seconds after the answer."""
        return [at - self.answered_at for at in moments if self.answered_at < at < self.until]


async def while_running(
    fixture: CampaignFixture, campaign_id: str, sizes: Sizes
) -> dict[str, list[Sample]]:
    """Measure a running campaign on a worker that has just started."""
    worker = fixture.environment.side(PRODUCT).workers[0].pid
    before, since = resident_megabytes(worker), time.time()
    handle = fixture.workflow(campaign_id)
    async with _sampled_memory(worker) as seen:
        await fixture.until_posted(campaign_id, 1, since=since, within=_FIRST_POST_WITHIN_SECONDS)
        started_at = time.time()
        pauses = [await _pause(handle, sizes) for _ in range(sizes.pauses)]
        await asyncio.sleep(sizes.pause_every_seconds)
        progress = await handle.query(PROGRESS_QUERY, result_type=CampaignProgress)
        cancel = await _stop(handle, CANCEL_UPDATE, seconds=sizes.pause_seconds)
    arrived = [row["created"] for row in fixture.accepted(campaign_id, since=since)]
    started = fixture.attempts(campaign_id)
    runs = runs_between(started_at, [*pauses, cancel])
    posted = [sum(begin <= at < end for at in arrived) for begin, end in runs]
    took = sum(end - begin for begin, end in runs)
    answered = [pause.answered_within * 1000 for pause in pauses]
    late = [after for pause in pauses for after in pause.after_its_answer(arrived)]
    return {
        RUNNING: [
            {
                "rows": progress.rows,
                "rows/s": progress.dispatched / took,
                "posted (messages/s)": sum(posted) / took,
                "pauses": len(pauses),
                "pause answered (ms)": statistics.median(answered),
                _SLOWEST_PAUSE: max(answered),
                _STARTED: sum(len(pause.after_its_answer(started)) for pause in pauses),
                "POSTs that arrived after the answer": len(late),
                "the last of them after (ms)": max(late, default=0.0) * 1000,
                _BETWEEN: min(posted),
                _CANCELED: cancel.answered_within * 1000,
                _STARTED_CANCELED: len(cancel.after_its_answer(started)),
                "max memory (MB)": max(seen, default=before),
                "memory before (MB)": before,
            }
        ]
    }


def running_bounds() -> list[Bound]:
    """What must hold; each pause interrupted a campaign that was sending."""
    return [
        Bound(side=RUNNING, figure=_SLOWEST_PAUSE, at_most=5000),
        Bound(side=RUNNING, figure=_STARTED, at_most=0),
        Bound(side=RUNNING, figure=_BETWEEN, at_least=1),
        Bound(side=RUNNING, figure=_CANCELED, at_most=5000),
        Bound(side=RUNNING, figure=_STARTED_CANCELED, at_most=0),
    ]


def runs_between(started_at: float, stops: Sequence[Stop]) -> list[tuple[float, float]]:
    """The periods in which the campaign was running: from one stop to the next."""
    first = Stop(asked_at=started_at, answered_at=started_at, until=started_at)
    return [(before.until, stop.asked_at) for before, stop in pairwise([first, *stops])]


async def _pause(handle: WorkflowHandle[Any, Any], sizes: Sizes) -> Stop:
    """Let it run for a while, pause it, and resume it."""
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
async def _sampled_memory(pid: int) -> AsyncIterator[list[float]]:
    """Sample the memory of the process while the block runs."""
    seen: list[float] = []

    async def look() -> None:
        while True:
            seen.append(resident_megabytes(pid))
            await asyncio.sleep(_SAMPLE_SECONDS)

    looking = asyncio.create_task(look())
    try:
        yield seen
    finally:
        looking.cancel()


KILLED = "killed"
_MISSING, _TWICE = "not posted", "posted twice"
_KILLED_TIMEOUT_SECONDS = 180


async def killed(fixture: CampaignFixture, sizes: Sizes) -> dict[str, list[Sample]]:
    """Kill the worker each time a share of the messages is posted, and once the server.

    Where a worker dies during a POST, Twilio's list is searched; if Twilio has not accepted the
    message it is sent again, as the option says. (By default a campaign's message would become a
    dead letter.)
    """
    rows, campaign_id, since = sizes.killed_rows, new_id(), time.time()
    worker, server = (
        fixture.environment.side(PRODUCT).workers[0],
        fixture.environment.stack.temporal,
    )
    await start_campaign(fixture, campaign_id, rows, "--on-unknown-outcome", "resend")
    victims = [worker, server, *[worker] * (sizes.kills - 1)]
    for number, victim in enumerate(victims, 1):
        posts = rows * number // (len(victims) + 1)
        await fixture.until_posted(campaign_id, posts, since=since, within=_KILLED_TIMEOUT_SECONDS)
        await asyncio.to_thread(victim.kill)
        await asyncio.to_thread(victim.start)
    # The campaign's own workflow sees that later: it counts running messages at growing intervals.
    await fixture.until_ended(campaign_id, rows, within=_KILLED_TIMEOUT_SECONDS)
    wanted = [row["to"] for row in recipients(rows)]
    missing, twice = balance(
        wanted, (row["to"] for row in fixture.accepted(campaign_id, since=since))
    )
    return {
        KILLED: [
            {
                "rows": rows,
                "seconds": time.time() - since,
                "kills": len(victims),
                _MISSING: missing,
                _TWICE: twice,
            }
        ]
    }


def killed_bounds() -> list[Bound]:
    """What must hold."""
    return [Bound(side=KILLED, figure=figure, at_most=0) for figure in (_MISSING, _TWICE)]


def balance(wanted: Iterable[str], posted: Iterable[str]) -> tuple[int, int]:
    """How many recipients got nothing, and how many messages were sent too many."""
    due, sent = Counter(wanted), Counter(posted)
    return (due - sent).total(), (sent - due).total()


DISPATCHED, BARE = "dispatch", "bare starts"
_ROWS = "rows/s"


async def dispatch_pages(fixture: CampaignFixture, sizes: Sizes) -> dict[str, list[Sample]]:
    """Dispatch pages without a worker, alternating with bare starts."""
    rows = sizes.campaign_page
    sides = {DISPATCHED: _dispatch_a_page, BARE: _start_a_page}
    found: dict[str, list[Sample]] = {side: [] for side in sides}
    for number in range(sizes.campaign_pages):
        for side in sorted(sides, reverse=bool(number % 2)):
            found[side].append({_ROWS: rows / await sides[side](fixture, rows)})
    return found


def dispatch_bounds() -> list[Bound]:
    """What must hold."""
    return [Bound(side=DISPATCHED, figure=_ROWS, at_least=0.7, against=BARE)]


async def _dispatch_a_page(fixture: CampaignFixture, rows: int) -> float:
    return await fixture.dispatch_all(fixture.loaded(rows), rows)


async def _start_a_page(fixture: CampaignFixture, rows: int) -> float:
    left, baseline = iter(range(rows)), fixture.environment.side(BASELINE)

    async def start_the_rest() -> None:
        for _ in left:
            await fixture.environment.start(baseline)

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(CONCURRENT_STARTS):
            group.create_task(start_the_rest())
    return time.perf_counter() - started


_MAX_SECONDS = 1500.0


async def run(sizes: Sizes) -> Report:
    """Measure it."""
    samples: dict[str, list[Sample]] = {}

    def keep(found: dict[str, list[Sample]]) -> None:
        for side, of_side in found.items():
            log_progress(side, of_side[-1])
        samples.update(found)

    async with asyncio.timeout(_MAX_SECONDS):
        with fresh_stack() as (stack, group):
            environment = await set_up(stack, group)
            with campaign_fixture(environment) as fixture:
                found, campaign_id = await check_and_load(
                    fixture, rows=sizes.rows, few=sizes.few_rows
                )
                keep(found)
                with environment.running(environment.side(PRODUCT)):
                    keep(await while_running(fixture, campaign_id, sizes))
                    keep(await killed(fixture, sizes))
                keep(await dispatch_pages(fixture, sizes))
    return Report(
        benchmark="campaigns",
        question=f"{sizes.rows:,} rows checked and loaded, paused and canceled; rows dispatched",
        rounds=Rounds(samples),
        bounds=[
            *command_bounds(),
            *running_bounds(),
            *killed_bounds(),
            *dispatch_bounds(),
        ],
        conditions={
            "seconds before each pause": sizes.pause_every_seconds,
            "pages dispatched": sizes.campaign_pages,
            "rows a page": sizes.campaign_page,
            "started at once": CONCURRENT_STARTS,
        },
    )
