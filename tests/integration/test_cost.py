import asyncio
import functools
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from devtools.bench.cost import billable_actions
from devtools.sandbox.client import Step
from devtools.sandbox.magic import GOOD_SENDER
from signedfor.contract import MESSAGES_QUEUE, SEND_MESSAGE, Outcome, message_workflow_id
from tests.fixtures.stack import TEXT, NewNumber
from tests.histories.recording import history_files, read
from tests.integration.support import SERVICE, Caller, Sent, events_of_type, new_id

pytestmark = pytest.mark.integration

_EVENTS = 12
_ACTIONS = 5
_LATER: Step = {"callbacks": {"delay": 0.7}}
"""The receipt comes well after the create's answer, as it does in production."""


async def test_a_delivered_message_costs_12_events_and_5_actions(
    caller: Caller, new_number: NewNumber
) -> None:
    """A delivered message is 12 history events and 5 actions, from a number and from a service.

    The actions: the start, the send (local), the receipt timer, the receipt's signal, and the
    upsert of search attributes with the outcome. Queries, of which each costs one, are the
    caller's.
    """
    for sender in (GOOD_SENDER, SERVICE):
        sent = await _sent_locally(
            functools.partial(_started_plainly, caller, new_number(), sender=sender)
        )

        assert Outcome.DELIVERED is (await sent.report()).outcome
        events = await sent.events()
        assert (_EVENTS, _ACTIONS) == (len(events), billable_actions(events)), _summary(events)


async def test_a_status_from_the_start_costs_one_more(
    caller: Caller, new_number: NewNumber
) -> None:
    """`signedfor.client` starts a message with a status, which is free; an upsert updates it."""
    sent = await _sent_locally(lambda: caller.send(new_number(), _LATER))

    assert Outcome.DELIVERED is (await sent.report()).outcome
    assert (_EVENTS + 1, _ACTIONS + 1) == await _cost(sent)


def test_a_wait_for_its_reserved_time_costs_8_events_and_4_actions() -> None:
    """Most messages of a campaign wait: a timer, a workflow task, a second check, two upserts."""
    events = read(history_files()["waited_for_its_reserved_time"]).events

    assert (_EVENTS + 8, _ACTIONS + 4) == (len(events), billable_actions(events)), _summary(events)


async def test_what_failures_cost(caller: Caller, new_number: NewNumber) -> None:
    """Quick retries cost nothing; a refusal costs two actions, for the start of its dead letter."""
    busy: Step = {"respond": "error", "code": 20429, "http_status": 429}
    no_permission: Step = {"respond": "error", "code": 21408, "http_status": 400}
    retried, refused = await asyncio.gather(
        _sent_locally(lambda: _started_plainly(caller, new_number(), busy, busy)),
        _sent_locally(lambda: _started_plainly(caller, new_number(), no_permission)),
    )

    assert (_EVENTS, _ACTIONS) == await _cost(retried)
    # The start, the send, the dead letter (2) and one upsert.
    assert (12, 5) == await _cost(refused)


async def _sent_locally(start: Callable[[], Awaitable[Sent]]) -> Sent:
    """Start a message that ends, and that was sent within its first workflow task.

    On a machine that stalls for seconds, the send becomes a regular activity, which costs more.
    """
    for _ in range(3):
        sent = await start()
        await sent.report()
        if not events_of_type(await sent.events(), EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED):
            return sent
    pytest.fail("the send ran as a regular activity three times")


async def _started_plainly(
    caller: Caller, to: str, *steps: Step, sender: str = GOOD_SENDER
) -> Sent:
    """Start a message as any Temporal client can, without search attributes."""
    caller.stack.sandbox.script(to, [*steps, _LATER])
    message_id = new_id()
    await caller.client.start_workflow(
        SEND_MESSAGE,
        {"to": to, "from": sender, "body": TEXT},
        id=message_workflow_id(message_id),
        task_queue=MESSAGES_QUEUE,
    )
    return Sent(message_id=message_id, to=to, stack=caller.stack, client=caller.client)


async def _cost(sent: Sent) -> tuple[int, int]:
    events = await sent.events()
    return len(events), billable_actions(events)


def _summary(events: Sequence[HistoryEvent]) -> dict[str, int]:
    return dict(Counter(EventType.Name(event.event_type) for event in events))
