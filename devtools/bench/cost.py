"""What one delivered message costs: history events, billable actions, database statements.

Measured for one that is sent at once, and for one of a campaign that waits for its reservation: the
campaign's own activity starts it, with the search attributes that it sets.

The worker runs in this process, so that its database statements can be counted; the rest of the
stack is as usual. The receipt comes well after the create's answer, as it does in production.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import event
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHandle

from devtools.bench.campaign_fixture import SENDER, SENDER_RATE, campaign_fixture
from devtools.bench.environment import (
    BASELINE,
    PRODUCT,
    UNPACED,
    Environment,
    delivered,
    fresh_stack,
    log_progress,
    set_up,
)
from devtools.bench.figures import Rounds, Sample
from devtools.bench.report import Report
from devtools.bench.sizes import Sizes
from signedfor.breaker import Breaker
from signedfor.contract import campaign_message_id, message_workflow_id
from signedfor.outage_hold import OutageHold
from signedfor.settings import Settings
from signedfor.store.database import open_engine
from signedfor.worker_metrics import WorkerMetrics
from worker import running_workers

_BILLED = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED: 1,
    EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED: 1,
    EventType.EVENT_TYPE_TIMER_STARTED: 1,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED: 1,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED: 1,
    EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES: 1,
    EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED: 2,
}
"""From Temporal's page on actions. Workflow tasks, canceled timers and completions are free."""


def billable_actions(events: Sequence[HistoryEvent]) -> int:
    """How many actions Temporal Cloud would bill for this history."""
    billed = sum(_BILLED.get(event.event_type, 0) for event in events)
    retries = sum(
        event.activity_task_started_event_attributes.attempt - 1
        for event in events
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED
    )
    # All local activities of one workflow task are one action together.
    local = {
        event.marker_recorded_event_attributes.workflow_task_completed_event_id
        for event in events
        if event.event_type == EventType.EVENT_TYPE_MARKER_RECORDED
    }
    return billed + retries + len(local)


WAITING = "ours, of a campaign"
_RECEIPT_AFTER_SECONDS = 1.0
_CONNECTIONS = 40


_Handles = Sequence[WorkflowHandle[Any, Any]]


async def run(sizes: Sizes) -> Report:
    """Count it."""
    samples: dict[str, list[Sample]] = {}
    # Counts, not times: they are the same in every round and order.
    with fresh_stack() as (stack, group):
        environment = await set_up(stack, group)
        stack.sandbox.settings(delivered_after=_RECEIPT_AFTER_SECONDS)
        for name, count in ((PRODUCT, _ours), (WAITING, _waiting), (BASELINE, _baseline)):
            samples[name] = [await count(environment, sizes)]
            log_progress(name, samples[name][0])
    return Report(
        benchmark="cost",
        question="what one delivered message costs",
        rounds=Rounds(samples),
        baseline=BASELINE,
        conditions={
            "messages": sizes.counted,
            "seconds to the reservation of a campaign's": sizes.reserved_seconds,
            **UNPACED,
        },
    )


async def _baseline(environment: Environment, sizes: Sizes) -> Sample:
    with environment.running(environment.side(BASELINE)):
        return await _histories(await _started(environment, BASELINE, sizes.counted))


async def _ours(environment: Environment, sizes: Sizes) -> Sample:
    async with _counted(environment) as counts:
        histories = await _histories(await _started(environment, PRODUCT, sizes.counted))
    return {**histories, **_each(counts, sizes.counted)}


async def _waiting(environment: Environment, sizes: Sizes) -> Sample:
    with campaign_fixture(environment) as fixture:
        fixture.rate_limiter.reserve(
            SENDER, round(sizes.reserved_seconds * SENDER_RATE), is_urgent=False
        )
        campaign_id = fixture.loaded(sizes.counted)
        async with _counted(environment) as counts:
            await fixture.dispatch_all(campaign_id, sizes.counted)
            ids = [campaign_message_id(campaign_id, row) for row in range(1, sizes.counted + 1)]
            histories = await _histories(
                [environment.client.get_workflow_handle(message_workflow_id(each)) for each in ids]
            )
    return {**histories, **_each(counts, sizes.counted)}


async def _started(environment: Environment, side_name: str, count: int) -> _Handles:
    return [await environment.start(environment.side(side_name)) for _ in range(count)]


async def _histories(handles: _Handles) -> dict[str, float]:
    """Means over these messages, once they are delivered."""
    await asyncio.gather(*map(delivered, handles))
    totals: Counter[str] = Counter()
    for handle in handles:
        events = list((await handle.fetch_history()).events)
        info = (await handle.describe()).raw_description.workflow_execution_info
        totals["history events"] += len(events)
        totals["history bytes"] += info.history_size_bytes
        totals["billable actions"] += billable_actions(events)
    return {name: total / len(handles) for name, total in totals.items()}


def _each(counts: Counter[str], messages: int) -> Sample:
    return {f"database {name}": count / messages for name, count in counts.items()}


@asynccontextmanager
async def _counted(environment: Environment) -> AsyncIterator[Counter[str]]:
    """Run our worker in this process for the block, and count its database statements."""
    variables = {name.lower(): value for name, value in environment.stack.settings.items()}
    settings = Settings.model_validate(variables)
    engine = open_engine(settings.database_url, pool_size=_CONNECTIONS)
    counts: Counter[str] = Counter()

    def note(statement: str) -> None:
        if statement.startswith("BEGIN"):  # which says at once whether it will write
            counts["transactions"] += 1
            counts["writing transactions"] += statement.endswith("IMMEDIATE")
        elif not statement.startswith(("COMMIT", "ROLLBACK", "PRAGMA")):
            counts["statements"] += 1

    event.listen(engine, "connect", lambda driver, _: driver.set_trace_callback(note))
    try:
        with environment.running(environment.side(PRODUCT), workers=0):
            async with running_workers(
                environment.client,
                engine,
                settings,
                outage_hold=OutageHold(engine),
                metrics=WorkerMetrics(),
                breaker=Breaker(engine, settings.breaker_limits, settings.prices()),
            ):
                yield counts
    finally:
        engine.dispose()
