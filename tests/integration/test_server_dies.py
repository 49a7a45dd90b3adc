import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from messaging.contract import Outcome, Stage
from stack.local import LocalStack
from tests.fixtures.stack import NewNumber
from tests.integration.support import Caller, until_true

pytestmark = pytest.mark.integration

_BUSY = {"respond": "error", "code": 20429, "http_status": 429}


async def test_a_temporal_server_that_dies_loses_nothing(
    breakable_stack: LocalStack, brave_caller: Caller, new_number: NewNumber
) -> None:
    """Killed and restarted, the server has every message, and none is sent twice.

    Callbacks that come meanwhile are refused with 503, and Twilio repeats them.
    """
    sandbox = breakable_stack.sandbox
    sandbox.settings(hold=True)
    awaiting = [await brave_caller.send(new_number()) for _ in range(5)]
    for each in awaiting:
        await each.reaches(Stage.AWAITING_RECEIPT)
    retrying = await brave_caller.send(new_number(), *[_BUSY] * 4)
    await retrying.reaches(Stage.RETRYING)
    in_flight = await brave_caller.send(new_number(), {"delay": 3})
    send_at = datetime.now(UTC) + timedelta(seconds=4)
    scheduled = await brave_caller.send(new_number(), send_at=send_at.isoformat())
    await scheduled.reaches(Stage.SCHEDULED)
    await until_true(lambda: bool(in_flight.accepted()), "the message in flight")

    breakable_stack.temporal.kill()
    sandbox.settings(hold=False)
    await until_true(
        lambda: all(503 in {row["http_status"] for row in each.callbacks()} for each in awaiting),
        "every receipt to be refused",
    )
    breakable_stack.temporal.start()
    everything = [*awaiting, retrying, in_flight, scheduled]
    reports = await asyncio.gather(*(each.report() for each in everything))

    assert [Outcome.DELIVERED] * 8 == [each.outcome for each in reports]
    assert [1] * 8 == [len(each.accepted()) for each in everything]
    assert [0] * 5 + [4, 0, 0] == [len(each.refused()) for each in everything]
    for each in awaiting:
        assert 204 == each.callbacks("delivered")[-1]["http_status"]
    breakable_stack.check()
