import asyncio

import pytest

from signedfor.contract import Outcome
from tests.fixtures.stack import NewNumber
from tests.integration.support import Caller, new_id

pytestmark = pytest.mark.integration


async def test_fifty_starts_with_one_id(caller: Caller, new_number: NewNumber) -> None:
    """Fifty starts at the same time start one message."""
    to, message_id = new_number(), new_id()

    sent = await asyncio.gather(*(caller.send(to, message_id=message_id) for _ in range(50)))
    report = await sent[0].report()
    run_id = (await sent[0].handle.describe()).run_id

    assert Outcome.DELIVERED is report.outcome
    assert 1 == len(sent[0].accepted())
    assert run_id == (await sent[-1].handle.describe()).run_id
