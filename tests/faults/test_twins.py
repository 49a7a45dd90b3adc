import asyncio

import pytest

from devtools.sandbox.client import Step
from devtools.stack.local import LocalStack, message_id_of
from signedfor.contract import OnUnknownOutcome, Outcome, Stage
from signedfor.message_activities import SearchActivities
from tests.devtools.sandbox.support import twilio_client
from tests.fixtures.stack import NewNumber
from tests.integration.support import Caller, Sent, until, until_true

pytestmark = pytest.mark.integration

_LATE = {"callbacks": {"delay": 5}}
"""Long after the first two searches."""
_TAKEN: Step = {"respond": "drop_after_accept", **_LATE}
_NOT_TAKEN: Step = {"respond": "drop_before_accept"}
_KNOWN: Step = {"delay": 0.5}
_SILENT: Step = {"callbacks": {"lost": True}}
_TEMPLATE = "HX" + "0c" * 16


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

    await _each_has_its_own(*twins)


@pytest.mark.parametrize("first", [_TAKEN, _NOT_TAKEN], ids=["taken", "not taken"])
async def test_a_template_and_a_text(caller: Caller, new_number: NewNumber, first: Step) -> None:
    """A template of unknown fate does not pass for sent because a text to the person was."""
    to = new_number()
    caller.stack.sandbox.script(to, [first])
    templated = await caller.send(to, body=None, content_sid=_TEMPLATE)
    await templated.reaches(Stage.RESOLVING)
    text = await caller.send(to)

    await _each_has_its_own(templated, text)


async def test_what_nobody_can_tell_apart_is_not_guessed(
    breakable_stack: LocalStack, caller: Caller, new_number: NewNumber
) -> None:
    """One of two was taken, no callback says which: neither takes the SID, or is sent again."""
    to = new_number()
    caller.stack.sandbox.script(to, [{**_TAKEN, **_SILENT}, _NOT_TAKEN], then=_SILENT)
    twins = await asyncio.gather(caller.send(to), caller.send(to))

    await _stay_undecided(*twins)

    await until_true(lambda: not breakable_stack.sandbox.summary()["pending"], "callbacks")


async def test_what_a_parked_message_may_have_is_not_taken(
    caller: Caller, new_number: NewNumber
) -> None:
    """Parked before Twilio listed it: its twin, not taken, neither takes its SID nor is resent."""
    to = new_number()
    unlisted: Step = {**_TAKEN, **_SILENT, "listed_after": 12}
    caller.stack.sandbox.script(to, [unlisted, _NOT_TAKEN], then=_SILENT)
    parked = await caller.send(to, on_unknown_outcome=OnUnknownOutcome.DEAD_LETTER)
    report = await parked.report()
    assert (Outcome.UNCONFIRMED, None) == (report.outcome, report.message_sid)
    twilio = twilio_client(caller.stack.sandbox_url or "")
    await until_true(lambda: bool(twilio.messages.list(to=to)), "Twilio to list it after all")

    await _stay_undecided(await caller.send(to))


async def _each_has_its_own(*messages: Sent) -> None:
    """Each is delivered, once, under the SID that Twilio gave to it."""
    reports = await asyncio.gather(*(each.report() for each in messages))

    owners = {row["sid"]: message_id_of(row) for row in messages[0].accepted()}
    assert [Outcome.DELIVERED] * len(messages) == [each.outcome for each in reports]
    assert {each.message_sid: each.message_id for each in reports} == owners
    assert len(messages) == len(owners)


async def _stay_undecided(*messages: Sent) -> None:
    """None of them is found or sent again, though it is searched for more often than twice."""

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
