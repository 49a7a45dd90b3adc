"""A database that was restored from an older copy."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from devtools.sandbox.magic import GOOD_SENDER
from signedfor.contract import Outcome
from signedfor.inbound import CATCH_UP_ID
from signedfor.store.database import open_engine
from signedfor.store.inbound import Watermarks
from tests.faults.soak.injection import copy_database
from tests.fixtures.stack import NewNumber, silent_stack
from tests.integration.support import Caller

pytestmark = pytest.mark.integration

_DAILY = "1440"
"""Minutes: the schedule does not search while the test runs."""


@pytest.mark.timeout(120)
async def test_an_opt_out_that_the_database_has_forgotten_comes_back_first(
    tmp_path: Path, new_number: NewNumber
) -> None:
    """A worker that starts records the inbound messages since the last search, then sends."""
    with silent_stack(tmp_path, INBOUND_CATCH_UP_MINUTES=_DAILY) as stack:
        caller = Caller(stack=stack, client=await stack.client())
        database = Path(stack.settings["DATABASE_URL"].removeprefix("sqlite:///"))
        person = new_number()
        before = await (await caller.send(person)).report()
        engine = open_engine(stack.settings["DATABASE_URL"])
        Watermarks(engine).advance(CATCH_UP_ID, datetime.now(UTC) - timedelta(days=4))
        engine.dispose()
        copy_database(database, tmp_path / "older-copy.db")
        stack.sandbox.inbound(person, GOOD_SENDER, "STOP")
        stopped = await (await caller.send(person)).report()

        for process in (stack.worker, stack.webhook):
            await asyncio.to_thread(process.stop)
        copy_database(tmp_path / "older-copy.db", database)
        for process in (stack.webhook, stack.worker):
            await asyncio.to_thread(process.start)
        restored = await caller.send(person)
        after = await restored.report()

    outcomes = [each.outcome for each in (before, stopped, after)]
    assert [Outcome.DELIVERED, Outcome.SUPPRESSED, Outcome.SUPPRESSED] == outcomes
    assert 0 == after.attempts
