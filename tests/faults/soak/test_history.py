"""What is read from a history: made-up events, in the form in which Temporal writes them."""

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import BaseModel
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from tests.faults.soak.submissions import Reason, submissions_in
from tests.faults.soak.history import SendResult, SendFinished, read_history
from signedfor.payloads import data_converter
from signedfor.steps import SEND, Decision, Submission
from tests.faults.soak.samples import FIRST, at


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


_ACCEPTED = Submission(decision=Decision.GO, message_sid=FIRST)


@pytest.mark.parametrize("decision", [Decision.NOT_YET, Decision.CLOSED, Decision.HELD])
def test_a_send_that_was_not_due_belongs_to_the_same_submission(decision: Decision) -> None:
    """A message that had to wait again is submitted once, and for a reason."""
    not_due, accepted = _send(2, Submission(decision=decision)), _send(4, _ACCEPTED)

    history = read_history([_started(), *not_due, *accepted])

    results = [event.result for event in history.events if isinstance(event, SendFinished)]
    assert [SendResult.NOT_SENT, SendResult.ACCEPTED] == results
    assert [Reason.FIRST] == [each.reason for each in submissions_in(history)]


@pytest.mark.parametrize("decision", [Decision.SUPPRESSED, Decision.EXPIRED, Decision.CANCELED])
def test_a_send_after_a_permanent_block_is_unintended(decision: Decision) -> None:
    """A suppressed, expired or canceled message must not be sent again."""
    history = read_history([_started(), *_send(2, Submission(decision=decision)), *_send(4, _ACCEPTED)])

    assert [Reason.FIRST, Reason.UNINTENDED] == [each.reason for each in submissions_in(history)]


def test_a_workflow_with_a_pending_timer_is_waiting() -> None:
    """Until the timer fires or is canceled, or the workflow closes."""
    started, timer = _started(), _event(2, EventType.EVENT_TYPE_TIMER_STARTED)
    fired = _event(3, EventType.EVENT_TYPE_TIMER_FIRED)
    closed = _event(3, EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED)

    is_waiting = [
        read_history(events, of_message=False).is_waiting
        for events in (
            [started],
            [started, timer],
            [started, timer, fired],
            [started, timer, closed],
        )
    ]

    assert [False, True, False, False] == is_waiting
