"""What one delivered message costs, counted: history, billable actions, database statements.

The worker runs in this process, so that what it asks of the database can be counted; the rest of
the stack is as ever. The receipt comes well after the create's answer, as it does in the world.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event

from bench.actions import billable_actions
from bench.harness.figures import Sample
from bench.harness.house import FLOOR, OURS, House
from bench.harness.loads import settled
from bench.harness.report import Report
from bench.harness.rounds import alternate
from bench.harness.sizes import Sizes
from settings import Settings
from store.database import open_engine
from worker import running_workers

_RECEIPT_AFTER_SECONDS = 1.0
_CONNECTIONS = 40


async def run(sizes: Sizes) -> Report:
    """Count it."""

    async def measure(house: House, side_name: str) -> Sample:
        house.stack.sandbox.settings(delivered_after=_RECEIPT_AFTER_SECONDS)
        if side_name == FLOOR:
            with house.running(house.side(FLOOR)):
                return await _histories(house, FLOOR, sizes.counted)
        variables = {name.lower(): value for name, value in house.stack.settings.items()}
        settings = Settings.model_validate(variables)
        engine = open_engine(settings.database_url, pool_size=_CONNECTIONS)
        with house.running(house.side(OURS), workers=0), _counted(engine) as counts:
            async with running_workers(house.client, engine, settings):
                histories = await _histories(house, OURS, sizes.counted)
        engine.dispose()
        return {
            **histories,
            **{f"database {name}": count / sizes.counted for name, count in counts.items()},
        }

    return Report(
        benchmark="cost",
        question="what one delivered message costs",
        # Counts, not times: they are the same in every round.
        rounds=await alternate([OURS, FLOOR], measure, rounds=1),
        floor=FLOOR,
        conditions={"messages": sizes.counted},
    )


async def _histories(house: House, side_name: str, count: int) -> Sample:
    """Means over `count` messages that were delivered."""
    handles = [await house.hand_in(house.side(side_name)) for _ in range(count)]
    await asyncio.gather(*map(settled, handles))
    totals: Counter[str] = Counter()
    for handle in handles:
        events = list((await handle.fetch_history()).events)
        info = (await handle.describe()).raw_description.workflow_execution_info
        totals["history events"] += len(events)
        totals["history bytes"] += info.history_size_bytes
        totals["billable actions"] += billable_actions(events)
    return {name: total / count for name, total in totals.items()}


@contextmanager
def _counted(engine: Engine) -> Iterator[Counter[str]]:
    """What is asked of the database while the block runs."""
    counts: Counter[str] = Counter()

    def begun(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        if statement.startswith("BEGIN"):  # SQLite's, which says at once whether it will write
            counts["transactions"] += 1
            counts["writing transactions"] += statement.endswith("IMMEDIATE")
        else:
            counts["statements"] += 1

    event.listen(engine, "before_cursor_execute", begun)
    try:
        yield counts
    finally:
        event.remove(engine, "before_cursor_execute", begun)
