import asyncio

import pytest
from temporalio.api.enums.v1 import EventType

from messaging.contract import OPEN, Outcome, Stage
from messaging.failures import FailureClass
from stack.local import LocalStack
from tests.fixtures.stack import NewNumber
from tests.integration.support import Caller, Sent, events_of_type, until_true

pytestmark = pytest.mark.integration


async def test_a_worker_killed_in_the_middle_of_a_send(
    breakable_stack: LocalStack, brave_caller: Caller, new_number: NewNumber
) -> None:
    """A POST whose answer nobody heard is never repeated.

    The callback tells what became of the message; without one it is a dead letter that says so.
    """
    told = await brave_caller.send(new_number(), {"delay": 5})
    untold = await brave_caller.send(new_number(), {"delay": 5, "callbacks": {"lost": True}})
    await _accepted_by_twilio(told, untold)

    breakable_stack.worker.kill()
    breakable_stack.worker.start()
    delivered, unknown = await asyncio.gather(told.report(), untold.report())

    [row] = told.accepted()
    assert (Outcome.DELIVERED, row["sid"], 1) == (
        delivered.outcome,
        delivered.message_sid,
        delivered.attempts,
    )
    assert (Outcome.UNCONFIRMED, FailureClass.OUTCOME_UNKNOWN, None, 1) == (
        unknown.outcome,
        unknown.failure_class,
        unknown.message_sid,
        unknown.attempts,
    )
    assert OPEN == (await untold.letter()).status
    assert 1 == len(untold.accepted())


async def test_a_worker_that_stops_finishes_its_sends(
    breakable_stack: LocalStack, brave_caller: Caller, new_number: NewNumber
) -> None:
    """SIGTERM with ten sends in flight: all are reported, it exits with 0, none is re-sent."""
    sent = [await brave_caller.send(new_number(), {"delay": 3}) for _ in range(10)]
    await _accepted_by_twilio(*sent)
    for each in sent:
        assert Stage.SENDING == (await each.progress()).status

    exit_code = await asyncio.to_thread(breakable_stack.worker.stop)
    reported = [
        len(events_of_type(await each.events(), EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED))
        for each in sent
    ]
    breakable_stack.worker.start()
    reports = await asyncio.gather(*(each.report() for each in sent))

    assert 0 == exit_code
    assert [1] * 10 == reported
    assert [(Outcome.DELIVERED, 1)] * 10 == [(each.outcome, each.attempts) for each in reports]
    assert [1] * 10 == [len(each.accepted()) for each in sent]


async def _accepted_by_twilio(*sent: Sent) -> None:
    await until_true(lambda: all(each.accepted() for each in sent), "Twilio to accept all")
