"""What people said while the database was away comes before what is sent to them."""

import asyncio

import pytest

from devtools.sandbox.magic import GOOD_SENDER
from devtools.stack.local import LocalStack
from signedfor.contract import Outcome
from signedfor.inbound import RECORD_INBOUND_WORKFLOW
from tests.faults.support import database_locked
from tests.fixtures.stack import NewNumber
from tests.integration.support import Caller, until

pytestmark = pytest.mark.integration

_PEOPLE = 5
_RETRIES_ARE_SLOW_BY_NOW = 4
"""Attempts after which the next is seconds away: without the hold, messages would overtake it."""


@pytest.mark.timeout(180)
async def test_an_opt_out_during_an_outage_is_in_force_before_the_next_message(
    breakable_stack: LocalStack, caller: Caller, new_number: NewNumber
) -> None:
    """Twilio was told 200, so nobody it came from is sent to, whoever is first after the outage."""
    people = [new_number() for _ in range(_PEOPLE)]
    query = f"WorkflowType = '{RECORD_INBOUND_WORKFLOW}' AND ExecutionStatus = 'Running'"

    async def are_retried_slowly() -> bool:
        attempts = []
        async for each in caller.client.list_workflows(query):
            description = await caller.client.get_workflow_handle(each.id).describe()
            activities = description.raw_description.pending_activities
            attempts += [activity.attempt for activity in activities]
        return len(attempts) == _PEOPLE and min(attempts) > _RETRIES_ARE_SLOW_BY_NOW

    with database_locked(breakable_stack):
        for person in people:
            await asyncio.to_thread(breakable_stack.sandbox.inbound, person, GOOD_SENDER, "STOP")
        await until(are_retried_slowly, "the opt-outs to wait in Temporal for the database")
    sent = [await caller.send(person) for person in people]
    reports = await asyncio.gather(*(each.report() for each in sent))

    assert [Outcome.SUPPRESSED] * _PEOPLE == [each.outcome for each in reports]
    assert [[]] * _PEOPLE == [each.accepted() for each in sent]
