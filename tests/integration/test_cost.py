import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from messaging.contract import Outcome
from sandbox.magic import GOOD_SENDER
from tests.fixtures.stack import NewNumber
from tests.integration.support import SERVICE, Caller, Sent

pytestmark = pytest.mark.integration

_EVENTS = 20
_ACTIONS = 7

_BILLED = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED: 1,
    EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED: 1,
    EventType.EVENT_TYPE_TIMER_STARTED: 1,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED: 1,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED: 1,
    EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES: 1,
    EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED: 2,
}
"""Temporal's page on actions. Workflow tasks, canceled timers and completions are free."""


async def test_a_delivered_message_costs_20_events_and_7_actions(
    caller: Caller, new_number: NewNumber
) -> None:
    """A delivered message is 20 history events and 7 actions, from a number and from a service.

    The actions: the start, admission (local), the send, the receipt timer, the receipt's signal,
    and two upserts of search attributes, awaiting_receipt and the outcome. Queries, of which each
    costs one, are the caller's.
    """
    # The receipt comes well after the create's answer, as it does in the world.
    later = {"callbacks": {"delay": 0.7}}
    sent = [
        await caller.send(new_number(), later, sender=sender) for sender in (GOOD_SENDER, SERVICE)
    ]

    for message in sent:
        assert Outcome.DELIVERED is (await message.report()).outcome
        events = await message.events()
        assert (_EVENTS, _ACTIONS) == (len(events), _actions(events)), _summary(events)


async def test_what_trouble_costs(caller: Caller, new_number: NewNumber) -> None:
    """A retry costs one action each, a refusal with its dead letter two for the letter's start."""
    busy = {"respond": "error", "code": 20429, "http_status": 429}
    later = {"callbacks": {"delay": 0.7}}
    retried = await caller.send(new_number(), busy, busy, later)
    refused = await caller.send(
        new_number(), {"respond": "error", "code": 21408, "http_status": 400}
    )

    await asyncio.gather(retried.report(), refused.report())

    assert (_EVENTS, _ACTIONS + 2) == await _cost(retried)
    # The start, admission, the send, the letter (2) and one upsert.
    assert (18, 6) == await _cost(refused)


async def _cost(sent: Sent) -> tuple[int, int]:
    events = await sent.events()
    return len(events), _actions(events)


def _actions(events: Sequence[HistoryEvent]) -> int:
    """How many actions Temporal Cloud would bill for this history."""
    billed = sum(_BILLED.get(event.event_type, 0) for event in events)
    retries = sum(
        event.activity_task_started_event_attributes.attempt - 1
        for event in events
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED
    )
    # All local activities that one workflow task has run are one action together.
    local = {
        event.marker_recorded_event_attributes.workflow_task_completed_event_id
        for event in events
        if event.event_type == EventType.EVENT_TYPE_MARKER_RECORDED
    }
    return billed + retries + len(local)


def _summary(events: Sequence[HistoryEvent]) -> dict[str, int]:
    return dict(Counter(EventType.Name(event.event_type) for event in events))
