"""What is read from a history: made-up events, in the form in which Temporal writes them."""

from datetime import datetime
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import BaseModel
from temporalio.api.enums.v1 import EventType, TimeoutType
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure, TimeoutFailureInfo
from temporalio.api.history.v1 import HistoryEvent

from signedfor.consent import Reason as SuppressionReason
from signedfor.message_activities import (
    DEFAULT_POLICY,
    AlreadyClaimed,
    CampaignCanceled,
    Deferred,
    Expired,
    Paused,
    SendResult,
    Sent,
    Suppressed,
    WindowClosed,
)
from signedfor.payloads import data_converter
from tests.faults.soak.history import FIND_CLAIM, SEND, SendFinished, SendOutcome, read_history
from tests.faults.soak.samples import FIRST, at
from tests.faults.soak.submissions import Reason, submissions_in


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


def _result(decision: Any) -> SendResult:
    return SendResult(attempts=0, sender=None, policy=DEFAULT_POLICY, decision=decision)


def _send_locally(
    number: int, result: BaseModel | Failure | None, *, activity: str = SEND
) -> list[HistoryEvent]:
    marker = _event(number, EventType.EVENT_TYPE_MARKER_RECORDED)
    attributes = marker.marker_recorded_event_attributes
    attributes.marker_name = "core_local_activity"
    to_payloads = data_converter.payload_converter.to_payloads
    data = {
        "activity_type": activity,
        "original_schedule_time": {"seconds": int(at(number).timestamp()), "nanos": 0},
    }
    attributes.details["data"].payloads.extend(to_payloads([data]))
    if isinstance(result, Failure):
        attributes.failure.CopyFrom(result)
    else:
        attributes.details["result"].payloads.extend(to_payloads([result]))
    return [marker]


_ACCEPTED = _result(Sent(message_sid=FIRST, status="queued", segments=1, submitted_at=at(4)))
_BLOCKED = [Suppressed(reason=next(iter(SuppressionReason))), Expired(), CampaignCanceled()]
_NOT_DUE = [Deferred(reserved_at=at(9)), WindowClosed(opens_at=at(9)), Paused()]


@pytest.mark.parametrize("decision", _NOT_DUE, ids=lambda each: each.kind)
def test_a_send_that_was_not_due_belongs_to_the_same_submission(
    decision: Deferred | WindowClosed | Paused,
) -> None:
    """A message that had to wait again is submitted once, and for a reason."""
    not_due, accepted = _send(2, _result(decision)), _send(4, _ACCEPTED)

    history = read_history([_started(), *not_due, *accepted])

    outcomes = [event.outcome for event in history.events if isinstance(event, SendFinished)]
    assert [SendOutcome.NOT_SENT, SendOutcome.ACCEPTED] == outcomes
    assert [Reason.FIRST] == [each.reason for each in submissions_in(history)]


@pytest.mark.parametrize("decision", _BLOCKED, ids=lambda each: each.kind)
def test_a_send_after_a_permanent_block_is_unintended(
    decision: Suppressed | Expired | CampaignCanceled,
) -> None:
    """A suppressed, expired or canceled message must not be sent again."""
    history = read_history([_started(), *_send(2, _result(decision)), *_send(4, _ACCEPTED)])

    assert [Reason.FIRST, Reason.UNINTENDED] == [each.reason for each in submissions_in(history)]


def test_a_local_send_is_read_from_its_marker() -> None:
    """Its result, or the failure that says whether Twilio may have the message."""
    unavailable = Failure(
        application_failure_info=ApplicationFailureInfo(type="TemporarilyUnavailable")
    )
    no_place = Failure(
        timeout_failure_info=TimeoutFailureInfo(
            timeout_type=TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_START
        )
    )
    too_long = Failure(
        timeout_failure_info=TimeoutFailureInfo(
            timeout_type=TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE
        )
    )
    claimed = _result(AlreadyClaimed(claimed_at=at(0)))

    outcomes = [
        [
            event.outcome
            for event in read_history([_started(), *_send_locally(2, each)]).events
            if isinstance(event, SendFinished)
        ]
        for each in (_ACCEPTED, claimed, unavailable, no_place, too_long)
    ]

    assert [
        [SendOutcome.ACCEPTED],
        [SendOutcome.UNKNOWN],
        [SendOutcome.NOT_SENT],
        [SendOutcome.NOT_SENT],
        [SendOutcome.UNKNOWN],
    ] == outcomes


def test_local_sends_of_one_task_follow_each_other() -> None:
    """Their markers are written together, when the workflow task has ended."""
    first, second = (
        _send_locally(2, _result(Deferred(reserved_at=at(3)))),
        _send_locally(3, _ACCEPTED),
    )
    for event in (*first, *second):
        event.event_time.FromDatetime(at(5))

    history = read_history([_started(), *first, *second])

    assert [at(2), at(3), at(3), at(5)] == [event.at for event in history.events]
    assert [Reason.FIRST] == [each.reason for each in submissions_in(history)]


def test_a_claim_that_is_found_without_a_send_shows_one() -> None:
    """The message was canceled after its first workflow task was lost, with the send in it."""
    lost = [
        _event(2, EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED),
        _event(3, EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT),
    ]
    found: list[list[tuple[datetime, Reason]]] = []
    for claim in (AlreadyClaimed(claimed_at=at(2), attempts=1), None):
        history = read_history([_started(), *lost, *_send_locally(4, claim, activity=FIND_CLAIM)])
        found.append([(each.started_at, each.reason) for each in submissions_in(history)])

    assert [[(at(2), Reason.FIRST)], []] == found


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
