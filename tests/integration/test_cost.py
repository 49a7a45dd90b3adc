import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.common import SearchAttributePair

from devtools.bench.cost import billable_actions
from devtools.sandbox.magic import GOOD_SENDER
from signedfor.contract import Outcome, Stage
from signedfor.search_attributes import MESSAGE_STATUS
from tests.fixtures.stack import NewNumber
from tests.histories.recording import history_files, read
from tests.integration.support import SERVICE, Caller, Sent

pytestmark = pytest.mark.integration

_EVENTS = 19
_ACTIONS = 6


async def test_a_delivered_message_costs_19_events_and_6_actions(
    caller: Caller, new_number: NewNumber
) -> None:
    """A delivered message is 19 history events and 6 actions, from a number and from a service.

    The actions: the start, admission (local), the send, the receipt timer, the receipt's signal,
    and the upsert of search attributes with the outcome. Queries, of which each costs one, are the
    caller's.
    """
    # The receipt comes well after the create's answer, as it does in the world.
    later = {"callbacks": {"delay": 0.7}}
    sent = [
        await caller.send(new_number(), later, sender=sender) for sender in (GOOD_SENDER, SERVICE)
    ]

    for message in sent:
        assert Outcome.DELIVERED is (await message.report()).outcome
        events = await message.events()
        assert (_EVENTS, _ACTIONS) == (len(events), billable_actions(events)), _summary(events)


async def test_a_status_from_the_start_costs_one_more(
    caller: Caller, new_number: NewNumber
) -> None:
    """A message that was started with a status, which is free, has it kept true: one upsert."""
    later = {"callbacks": {"delay": 0.7}}
    sent = await caller.send(
        new_number(), later, attributes=[SearchAttributePair(MESSAGE_STATUS, Stage.SENDING)]
    )

    assert Outcome.DELIVERED is (await sent.report()).outcome
    assert (_EVENTS + 1, _ACTIONS + 1) == await _cost(sent)


def test_a_wait_for_its_slot_costs_7_events_and_3_actions() -> None:
    """So do most of a campaign: a timer with its workflow task, and two upserts that show it."""
    events = read(history_files()["waited_for_its_reserved_time"]).events

    assert (_EVENTS + 7, _ACTIONS + 3) == (len(events), billable_actions(events)), _summary(events)


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
    return len(events), billable_actions(events)


def _summary(events: Sequence[HistoryEvent]) -> dict[str, int]:
    return dict(Counter(EventType.Name(event.event_type) for event in events))
