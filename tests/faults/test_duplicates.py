import asyncio

import pytest

from devtools.sandbox.client import Step
from devtools.stack.local import LocalStack, row_message_id
from signedfor.contract import OnUnknownOutcome, Outcome, Stage
from signedfor.message_activities import SearchActivities
from tests.devtools.sandbox.support import twilio_client
from tests.fixtures.stack import NewNumber
from tests.integration.support import Caller, Sent, until, until_true

pytestmark = pytest.mark.integration

_LATE = {"callbacks": {"delay": 5}}
"""Long after the first two searches."""
_ACCEPTED: Step = {"respond": "drop_after_accept", **_LATE}
_NOT_ACCEPTED: Step = {"respond": "drop_before_accept"}
_KNOWN: Step = {"delay": 0.5}
_SILENT: Step = {"callbacks": {"lost": True}}
_TEMPLATE = "HX" + "0c" * 16


@pytest.mark.parametrize("first", [_ACCEPTED, _NOT_ACCEPTED], ids=["accepted", "not accepted"])
@pytest.mark.parametrize(
    "second", [_KNOWN, _ACCEPTED, _NOT_ACCEPTED], ids=["known", "accepted", "not accepted"]
)
async def test_the_same_text_to_the_same_recipient(
    caller: Caller, new_number: NewNumber, first: Step, second: Step
) -> None:
    """Of two equal messages, one or both with an unknown outcome, each ends with its own SID.

    While a row of Twilio's list could belong to either, neither claims it and neither is resent; a
    callback then identifies it.
    """
    to = new_number()
    caller.stack.sandbox.script(to, [first, second])
    duplicates = await asyncio.gather(caller.send(to), caller.send(to))

    await _each_has_its_own_sid(*duplicates)


@pytest.mark.parametrize("first", [_ACCEPTED, _NOT_ACCEPTED], ids=["accepted", "not accepted"])
async def test_a_template_and_a_text(caller: Caller, new_number: NewNumber, first: Step) -> None:
    """A template with an unknown outcome does not count as sent because a text was."""
    to = new_number()
    caller.stack.sandbox.script(to, [first])
    templated = await caller.send(to, body=None, content_sid=_TEMPLATE)
    await templated.reaches(Stage.RESOLVING)
    text = await caller.send(to)

    await _each_has_its_own_sid(templated, text)


async def test_an_ambiguous_row_is_not_claimed(
    breakable_stack: LocalStack, caller: Caller, new_number: NewNumber
) -> None:
    """One of two was accepted, no callback says which: neither claims the SID or is resent."""
    to = new_number()
    caller.stack.sandbox.script(to, [{**_ACCEPTED, **_SILENT}, _NOT_ACCEPTED], then=_SILENT)
    duplicates = await asyncio.gather(caller.send(to), caller.send(to))

    await _stay_unresolved(*duplicates)

    await until_true(lambda: not breakable_stack.sandbox.summary()["pending"], "callbacks")


async def test_a_row_of_an_unresolved_message_is_not_claimed(
    caller: Caller, new_number: NewNumber
) -> None:
    """Twilio listed it too late: its duplicate neither claims its SID nor is resent."""
    to = new_number()
    unlisted: Step = {**_ACCEPTED, **_SILENT, "listed_after": 12}
    caller.stack.sandbox.script(to, [unlisted, _NOT_ACCEPTED], then=_SILENT)
    unresolved = await caller.send(to, on_unknown_outcome=OnUnknownOutcome.DEAD_LETTER)
    report = await unresolved.report()
    assert (Outcome.UNCONFIRMED, None) == (report.outcome, report.message_sid)
    twilio = twilio_client(caller.stack.sandbox_url or "")
    await until_true(lambda: bool(twilio.messages.list(to=to)), "Twilio to list it")

    await _stay_unresolved(await caller.send(to))


async def _each_has_its_own_sid(*messages: Sent) -> None:
    """Each is delivered once, under the SID that Twilio gave it."""
    reports = await asyncio.gather(*(each.report() for each in messages))

    owners = {row["sid"]: row_message_id(row) for row in messages[0].accepted()}
    assert [Outcome.DELIVERED] * len(messages) == [each.outcome for each in reports]
    assert {each.message_sid: each.message_id for each in reports} == owners
    assert len(messages) == len(owners)


async def _stay_unresolved(*messages: Sent) -> None:
    """None of them is found or resent, though Twilio is searched more than twice."""

    async def searched(sent: Sent) -> int:
        return sum(
            event.activity_task_scheduled_event_attributes.activity_type.name
            == SearchActivities.find_message.__name__
            for event in await sent.events()
        )

    async def searched_often() -> bool:
        return min([await searched(each) for each in messages]) >= 4

    await until(searched_often, "each to be searched for four times")
    progress = [await each.progress() for each in messages]

    assert [(Stage.RESOLVING, None)] * len(messages) == [
        (each.status, each.message_sid) for each in progress
    ]
    assert 1 == len(messages[0].accepted())
    for each in messages:
        await each.handle.terminate("the test is over")
