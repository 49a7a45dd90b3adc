import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from devtools.stack.local import LocalStack
from signedfor.contract import Outcome, Stage
from tests.fixtures.stack import NewNumber
from tests.integration.support import Caller, until_true

pytestmark = pytest.mark.integration

_WAITING = 200
_KILLS = 10


@pytest.mark.timeout(240)
async def test_killed_ten_times_with_200_messages_waiting(
    breakable_stack: LocalStack, caller: Caller, new_number: NewNumber
) -> None:
    """Waiting for a receipt or for `send_at`, all 200 are sent once and delivered."""
    breakable_stack.sandbox.settings(hold=True)
    awaiting = [await caller.send(new_number()) for _ in range(_WAITING // 2)]
    # While the server is killed.
    send_at = (datetime.now(UTC) + timedelta(seconds=20)).isoformat()
    scheduled = [await caller.send(new_number(), send_at=send_at) for _ in range(_WAITING // 2)]
    await until_true(
        lambda: all(each.accepted() for each in awaiting), "Twilio to accept a hundred"
    )
    await scheduled[-1].reaches(Stage.SCHEDULED)

    for _ in range(_KILLS):
        await asyncio.to_thread(breakable_stack.temporal.kill)
        await asyncio.to_thread(breakable_stack.temporal.start)
    breakable_stack.sandbox.settings(hold=False)
    reports = await asyncio.gather(*(each.handle.result() for each in (*awaiting, *scheduled)))

    assert {Outcome.DELIVERED} == {each.outcome for each in reports}
    assert {1} == {each.attempts for each in reports[: _WAITING // 2]}
    assert [1] * _WAITING == [len(each.accepted()) for each in (*awaiting, *scheduled)]
    breakable_stack.check()
