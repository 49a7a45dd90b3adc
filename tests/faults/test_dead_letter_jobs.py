import asyncio
from collections import Counter

import pytest
from temporalio.client import Client

from devtools.stack.local import LocalStack
from signedfor.contract import Resolution
from signedfor.dead_letter_activities import JobState
from signedfor.dead_letter_jobs import new_job_id, progress, start, stop
from signedfor.dead_letter_previews import preview
from signedfor.dead_letters import DeadLetterFilter, fetch
from signedfor.store.database import open_engine
from signedfor.store.suppressions import Suppressions
from tests.dead_letters import new_tenant, still_open
from tests.fixtures.stack import NewNumber
from tests.integration.support import Caller, Sent, until

pytestmark = pytest.mark.integration

_COUNT = 60
_REFUSED = {"respond": "error", "code": 21408, "http_status": 400}


async def _refused(caller: Caller, new_number: NewNumber, tenant: str) -> list[Sent]:
    """Messages that Twilio has refused, and whose dead letters can be found."""
    sent = [await caller.send(new_number(), _REFUSED, tenant=tenant) for _ in range(_COUNT)]

    async def all_are_open() -> bool:
        return len(await still_open(caller.client, tenant)) == _COUNT

    await until(all_are_open, "the dead letters to be open")
    return sent


async def _job_of(client: Client, message_id: str) -> str | None:
    """The job that resolved the message's dead letter."""
    report = (await fetch(client, message_id)).result
    return report.job_id if report else None


async def test_killed_and_stopped_on_the_way(
    breakable_stack: LocalStack, caller: Caller, new_number: NewNumber
) -> None:
    """Whatever interrupts the job, each message is sent again once, and none is lost."""
    client, tenant = caller.client, new_tenant()
    sent = await _refused(caller, new_number, tenant)
    engine = open_engine(breakable_stack.settings["DATABASE_URL"])
    which, retry = DeadLetterFilter(tenant=tenant, error_code=21408), Resolution(action="retry")

    async def run() -> str:
        job_id = new_job_id()
        what = await preview(client, Suppressions(engine), which, retry)
        await start(client, what.job, job_id=job_id)
        return job_id

    first = await run()

    async def some_are_resolved() -> bool:
        return len(await still_open(client, tenant)) < _COUNT

    await until(some_are_resolved, "the job to have resolved some")
    breakable_stack.worker.kill()
    await stop(client, first)
    await asyncio.to_thread(breakable_stack.worker.start)

    async def is_over() -> bool:
        return (await progress(client, first)).is_over

    await until(is_over, "the job to stop")
    stopped = await progress(client, first)
    second = await run()

    async def has_finished() -> bool:
        return (await progress(client, second)).is_over

    await until(has_finished, "the second job to finish")
    finished = await progress(client, second)
    engine.dispose()

    async def all_are_accepted() -> bool:
        return all(each.accepted() for each in sent)

    await until(all_are_accepted, "Twilio to accept all")
    assert JobState.FINISHED is finished.state
    assert 0 < stopped.tally.resolved
    # What the killed worker had decided and not yet reported counts for its own job.
    by_job = Counter([await _job_of(client, each.message_id) for each in sent])
    assert {first: stopped.tally.resolved, second: finished.tally.resolved} == by_job
    assert set() == await still_open(client, tenant)
    assert {1} == {len(each.accepted()) for each in sent}
