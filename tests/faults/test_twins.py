import asyncio

import pytest

from bench.books import message_id_in
from messaging.contract import Outcome, Stage
from messaging.steps import SEARCH
from sandbox.client import Step
from stack.local import LocalStack
from tests.fixtures.stack import NewNumber
from tests.integration.support import Caller, Sent, until, until_true

pytestmark = pytest.mark.integration

_LATE = {"callbacks": {"delay": 5}}
"""Long after the first two searches."""
_TAKEN: Step = {"respond": "drop_after_accept", **_LATE}
_NOT_TAKEN: Step = {"respond": "drop_before_accept"}
_KNOWN: Step = {"delay": 0.5}


@pytest.mark.parametrize("first", [_TAKEN, _NOT_TAKEN], ids=["taken", "not taken"])
@pytest.mark.parametrize(
    "second", [_KNOWN, _TAKEN, _NOT_TAKEN], ids=["known", "taken", "not taken"]
)
async def test_the_same_text_to_the_same_recipient(
    caller: Caller, new_number: NewNumber, first: Step, second: Step
) -> None:
    """Of two messages alike, one or both of unknown fate, each ends with the SID that is its own.

    While nobody can tell whose a row of Twilio's list is, neither takes it and neither is sent
    again; a callback then names it.
    """
    to = new_number()
    caller.stack.sandbox.script(to, [first, second])
    twins = await asyncio.gather(caller.send(to), caller.send(to))

    reports = await asyncio.gather(*(each.handle.result() for each in twins))

    owners = {
        row["sid"]: message_id_in(row) for row in caller.stack.sandbox.ledger(to=to)["accepted"]
    }
    assert [Outcome.DELIVERED] * 2 == [each.outcome for each in reports]
    assert {each.message_sid: each.message_id for each in reports} == owners
    assert 2 == len(owners)


async def test_what_nobody_can_tell_apart_is_not_guessed(
    breakable_stack: LocalStack, caller: Caller, new_number: NewNumber
) -> None:
    """One of two was taken, no callback says which: neither takes the SID, or is sent again."""
    to, silent = new_number(), {"callbacks": {"lost": True}}
    caller.stack.sandbox.script(to, [{**_TAKEN, **silent}, _NOT_TAKEN], then=silent)
    twins = await asyncio.gather(caller.send(to), caller.send(to))

    async def searched(sent: Sent) -> int:
        return sum(
            event.activity_task_scheduled_event_attributes.activity_type.name == SEARCH
            for event in await sent.events()
        )

    async def searched_often() -> bool:
        return min([await searched(each) for each in twins]) >= 4

    await until(searched_often, "both to be searched for four times")
    progress = [await each.progress() for each in twins]

    assert [(Stage.RESOLVING, None)] * 2 == [(each.status, each.message_sid) for each in progress]
    assert 1 == len(twins[0].accepted())
    for each in twins:
        await each.handle.terminate("the test is over")
    await until_true(lambda: not breakable_stack.sandbox.summary()["pending"], "callbacks")
