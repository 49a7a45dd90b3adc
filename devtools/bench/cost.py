"""What one delivered message costs, counted: history, billable actions, database statements.

One that goes straight through, and one of a campaign that waits for its slot: it is handed over by
the activity that does it, with the search attributes that it gives.

The worker runs in this process, so that what it asks of the database can be counted; the rest of
the stack is as ever. The receipt comes well after the create's answer, as it does in the world.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import event
from temporalio.client import WorkflowHandle

from devtools.bench.actions import billable_actions
from devtools.bench.campaigning.desk import SENDER, SENDER_RATE, desk_of
from devtools.bench.campaigning.handing_over import hand_over_all
from devtools.bench.harness.figures import Rounds, Sample
from devtools.bench.harness.house import FLOOR, NO_WAIT, OURS, House, furnish, open_stack
from devtools.bench.harness.loads import settled
from devtools.bench.harness.report import Report
from devtools.bench.harness.rounds import tell
from devtools.bench.harness.sizes import Sizes
from signedfor.contract import campaign_message_id, message_workflow_id
from signedfor.settings import Settings
from signedfor.store.database import open_engine
from worker import running_workers

WAITING = "ours, of a campaign"
_RECEIPT_AFTER_SECONDS = 1.0
_CONNECTIONS = 40


_Handles = Sequence[WorkflowHandle[Any, Any]]


async def run(sizes: Sizes) -> Report:
    """Count it."""
    samples: dict[str, list[Sample]] = {}
    # Counts, not times: they are the same in every round, and in any order.
    with open_stack() as (stack, group):
        house = await furnish(stack, group)
        stack.sandbox.settings(delivered_after=_RECEIPT_AFTER_SECONDS)
        for name, count in ((OURS, _ours), (WAITING, _waiting), (FLOOR, _floor)):
            samples[name] = [await count(house, sizes)]
            tell(name, samples[name][0])
    return Report(
        benchmark="cost",
        question="what one delivered message costs",
        rounds=Rounds(samples),
        floor=FLOOR,
        conditions={
            "messages": sizes.counted,
            "seconds to the slot of a campaign's": sizes.slot_seconds,
            **NO_WAIT,
        },
    )


async def _floor(house: House, sizes: Sizes) -> Sample:
    with house.running(house.side(FLOOR)):
        return await _histories(await _handed_in(house, FLOOR, sizes.counted))


async def _ours(house: House, sizes: Sizes) -> Sample:
    async with _counted(house) as counts:
        histories = await _histories(await _handed_in(house, OURS, sizes.counted))
    return {**histories, **_each(counts, sizes.counted)}


async def _waiting(house: House, sizes: Sizes) -> Sample:
    with desk_of(house) as desk:
        desk.pacing.reserve(SENDER, round(sizes.slot_seconds * SENDER_RATE), is_urgent=False)
        campaign_id = desk.loaded(sizes.counted)
        async with _counted(house) as counts:
            await hand_over_all(desk, campaign_id, sizes.counted)
            ids = [campaign_message_id(campaign_id, row) for row in range(1, sizes.counted + 1)]
            histories = await _histories(
                [house.client.get_workflow_handle(message_workflow_id(each)) for each in ids]
            )
    return {**histories, **_each(counts, sizes.counted)}


async def _handed_in(house: House, side_name: str, count: int) -> _Handles:
    return [await house.hand_in(house.side(side_name)) for _ in range(count)]


async def _histories(handles: _Handles) -> dict[str, float]:
    """Means over these messages, once they are delivered."""
    await asyncio.gather(*map(settled, handles))
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
async def _counted(house: House) -> AsyncIterator[Counter[str]]:
    """What our worker, which runs in this process, asks of the database while the block runs."""
    variables = {name.lower(): value for name, value in house.stack.settings.items()}
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
        with house.running(house.side(OURS), workers=0):
            async with running_workers(house.client, engine, settings):
                yield counts
    finally:
        engine.dispose()
