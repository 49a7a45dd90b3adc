import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.api.enums.v1 import EventType

from devtools.stack.local import LocalStack
from signedfor.contract import Outcome, Stage
from tests.fixtures.stack import NewNumber
from tests.integration.support import Caller, Sent, events_of_type, until, until_true

pytestmark = pytest.mark.integration

_BUSY = {"respond": "error", "code": 20429, "http_status": 429}


async def test_a_temporal_server_that_dies_loses_nothing(
    breakable_stack: LocalStack, brave_caller: Caller, new_number: NewNumber
) -> None:
    """Killed and restarted, the server has every message, and none is sent twice.

    Receipts that come meanwhile are taken once and reach their messages afterwards.
    """
    sandbox = breakable_stack.sandbox
    sandbox.settings(hold=True)
    awaiting = [await brave_caller.send(new_number()) for _ in range(5)]
    await _asked_twilio(*awaiting, times=1)
    retrying = await brave_caller.send(new_number(), *[_BUSY] * 4)
    # For hours there is no further status check: the receipts must arrive as callbacks.
    await _asked_twilio(*awaiting, times=2)
    await retrying.reaches(Stage.RETRYING)
    in_flight = await brave_caller.send(new_number(), {"delay": 3})
    send_at = datetime.now(UTC) + timedelta(seconds=4)
    scheduled = await brave_caller.send(new_number(), send_at=send_at.isoformat())
    await scheduled.reaches(Stage.SCHEDULED)
    await until_true(lambda: bool(in_flight.accepted()), "the message in flight")

    breakable_stack.temporal.kill()
    sandbox.settings(hold=False)
    await until_true(
        lambda: all(each.callbacks("delivered") for each in awaiting), "every receipt to be posted"
    )
    breakable_stack.temporal.start()
    everything = [*awaiting, retrying, in_flight, scheduled]
    reports = await asyncio.gather(*(each.report() for each in everything))

    assert [Outcome.DELIVERED] * 8 == [each.outcome for each in reports]
    assert [1] * 8 == [len(each.accepted()) for each in everything]
    assert [0] * 5 + [4, 0, 0] == [len(each.refused()) for each in everything]
    for each in awaiting:
        assert [204] == [row["http_status"] for row in each.callbacks("delivered")]
        assert events_of_type(await each.events(), EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED)
    breakable_stack.check()


async def _asked_twilio(*sent: Sent, times: int) -> None:
    """Wait until the status of each was fetched that often."""

    async def asked() -> bool:
        done = EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
        return all([len(events_of_type(await each.events(), done)) >= times for each in sent])

    await until(asked, "Twilio to be asked")
