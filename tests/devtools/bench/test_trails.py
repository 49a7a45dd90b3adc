"""What is read from a history: made-up events, as Temporal writes them."""

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import BaseModel
from signedfor.steps import SEND, Decision, Submission
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from devtools.bench.intended import Why, submissions_in
from devtools.bench.trails import SendEnd, SendEnded, read_trail
from signedfor.payloads import data_converter
from tests.devtools.bench.crafting import FIRST, at


def _event(number: int, kind: EventType.ValueType) -> HistoryEvent:
    moment = Timestamp()
    moment.FromDatetime(at(number))
    return HistoryEvent(event_id=number, event_type=kind, event_time=moment)


def _started() -> HistoryEvent:
    return _event(1, EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED)


def _send(number: int, result: BaseModel) -> list[HistoryEvent]:
    scheduled = _event(number, EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED)
    scheduled.activity_task_scheduled_event_attributes.activity_type.name = SEND
    completed = _event(number + 1, EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED)
    attributes = completed.activity_task_completed_event_attributes
    attributes.scheduled_event_id = number
    attributes.result.payloads.extend(data_converter.payload_converter.to_payloads([result]))
    return [scheduled, completed]


_TAKEN = Submission(decision=Decision.GO, message_sid=FIRST)


@pytest.mark.parametrize("decision", [Decision.NOT_YET, Decision.CLOSED, Decision.HELD])
def test_out_of_turn_is_the_same_submission(decision: Decision) -> None:
    """A message that had to wait for its turn once more is sent once, and for a reason."""
    held_back, taken = _send(2, Submission(decision=decision)), _send(4, _TAKEN)

    trail = read_trail([_started(), *held_back, *taken])

    ends = [step.end for step in trail.steps if isinstance(step, SendEnded)]
    assert [SendEnd.NOT_SENT, SendEnd.TAKEN] == ends
    assert [Why.FIRST] == [each.why for each in submissions_in(trail)]


@pytest.mark.parametrize("decision", [Decision.SUPPRESSED, Decision.EXPIRED, Decision.CANCELED])
def test_what_must_not_be_sent_is_not_tried_again(decision: Decision) -> None:
    """A send after the last check had forbidden it for good is one that nobody intended."""
    trail = read_trail([_started(), *_send(2, Submission(decision=decision)), *_send(4, _TAKEN)])

    assert [Why.FIRST, Why.UNINTENDED] == [each.why for each in submissions_in(trail)]


def test_what_has_set_a_timer_waits() -> None:
    """As long as the timer neither fires nor is canceled, and the workflow runs."""
    started, timer = _started(), _event(2, EventType.EVENT_TYPE_TIMER_STARTED)
    fired = _event(3, EventType.EVENT_TYPE_TIMER_FIRED)
    closed = _event(3, EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED)

    waits = [
        read_trail(events, of_message=False).waits
        for events in (
            [started],
            [started, timer],
            [started, timer, fired],
            [started, timer, closed],
        )
    ]

    assert [False, True, False, False] == waits
