"""What a workflow's history proves: sends, searches, receipts, statuses and its end, in order."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from typing import TypeVar

from pydantic import BaseModel
from signedfor.steps import (
    LOOK_UP,
    SEARCH,
    SEND,
    Decision,
    Finding,
    LookUp,
    SearchResult,
    Submission,
)
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType, TimeoutType
from temporalio.api.history.v1 import HistoryEvent

from signedfor.contract import DELIVERY_STATUS_SIGNAL, DeliveryStatus, MessageReport
from signedfor.contract.failures import RETRYABLE, FailureClass
from signedfor.payloads import data_converter
from signedfor.search_attributes import MESSAGE_STATUS

Model = TypeVar("Model", bound=BaseModel)


class SendEnd(Enum):
    """How a send activity ended, as far as sending again is concerned."""

    TAKEN = auto()
    """Twilio answered with a SID."""
    HELD_BACK = auto()
    """The last check found it suppressed, expired or canceled: no POST, and none to come."""
    NOT_SENT = auto()
    """Twilio certainly has not taken it, or it was not its turn: it may be tried again."""
    REFUSED = auto()
    """Twilio said no for good."""
    UNKNOWN = auto()
    """Twilio may have it or not."""


@dataclass(frozen=True, kw_only=True)
class SendBegun:
    """A send activity was scheduled."""

    at: datetime


@dataclass(frozen=True, kw_only=True)
class SendEnded:
    """A send activity ended; `message_sid` when Twilio named it."""

    at: datetime
    end: SendEnd
    message_sid: str | None = None


@dataclass(frozen=True, kw_only=True)
class Searched:
    """Twilio's list was searched; `finding` is None when it could not be."""

    at: datetime
    finding: Finding | None
    message_sid: str | None = None


@dataclass(frozen=True, kw_only=True)
class Heard:
    """A status that the workflow was told: by a callback, or by asking Twilio."""

    at: datetime
    message_sid: str
    status: str
    error_code: int | None = None
    by_callback: bool = True


@dataclass(frozen=True, kw_only=True)
class Shown:
    """The search attribute `MessageStatus` was written."""

    at: datetime
    status: str


Step = SendBegun | SendEnded | Searched | Heard | Shown


@dataclass(frozen=True, kw_only=True)
class Trail:
    """One workflow run. `closed_at` is None while it runs; `report` is a message's result."""

    run_id: str = ""
    steps: tuple[Step, ...] = ()
    closed_at: datetime | None = None
    completed: bool = False
    report: MessageReport | None = None
    waits: bool = False
    """It has set a timer and waits: it does its work, and was not merely started."""

    @property
    def sids(self) -> frozenset[str]:
        """What Twilio calls it, as far as it knows."""
        known = (
            step.message_sid
            for step in self.steps
            if isinstance(step, SendEnded | Searched | Heard)
        )
        return frozenset(sid for sid in known if sid is not None)

    def heard(self, message_sid: str, status: str) -> bool:
        """Whether a callback with this status came in."""
        return any(
            isinstance(step, Heard)
            and step.by_callback
            and (step.message_sid, step.status) == (message_sid, status)
            for step in self.steps
        )


_CLOSING = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED,
}
_TIMERS = {
    EventType.EVENT_TYPE_TIMER_STARTED: 1,
    EventType.EVENT_TYPE_TIMER_FIRED: -1,
    EventType.EVENT_TYPE_TIMER_CANCELED: -1,
}
_OUT_OF_TURN = frozenset({Decision.NOT_YET, Decision.CLOSED, Decision.HELD})


def read_trail(events: Sequence[HistoryEvent], *, of_message: bool = True) -> Trail:
    """The trail in a history; `of_message` is false for a dead letter's."""
    steps: list[Step] = []
    activities: dict[int, tuple[str, HistoryEvent]] = {}
    report = None
    for event in events:
        steps += _steps_in(event, activities)
        if event.HasField("workflow_execution_completed_event_attributes") and of_message:
            done = event.workflow_execution_completed_event_attributes
            report = _decode(done.result.payloads[0], MessageReport)
    last = events[-1]
    closed = last.event_type in _CLOSING
    return Trail(
        run_id=events[0].workflow_execution_started_event_attributes.original_execution_run_id,
        steps=tuple(steps),
        closed_at=_at(last) if closed else None,
        completed=last.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
        report=report,
        waits=not closed and sum(_TIMERS.get(event.event_type, 0) for event in events) > 0,
    )


def _steps_in(event: HistoryEvent, activities: dict[int, tuple[str, HistoryEvent]]) -> list[Step]:
    at = _at(event)
    match event.event_type:
        case EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            name = event.activity_task_scheduled_event_attributes.activity_type.name
            activities[event.event_id] = (name, event)
            return [SendBegun(at=at)] if name == SEND else []
        case EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
            done = event.activity_task_completed_event_attributes
            name, scheduled = activities[done.scheduled_event_id]
            return _completed(name, done.result.payloads[0], at, asked=scheduled)
        case (
            EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED
            | EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT
            | EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED
        ):
            return _not_completed(event, activities)
        case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
            return _signaled(event, at)
        case EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES:
            attributes = event.upsert_workflow_search_attributes_event_attributes
            payload = attributes.search_attributes.indexed_fields.get(MESSAGE_STATUS.name)
            return [] if payload is None else [Shown(at=at, status=_plain(payload))]
    return []


def _signaled(event: HistoryEvent, at: datetime) -> list[Step]:
    signal = event.workflow_execution_signaled_event_attributes
    if signal.signal_name != DELIVERY_STATUS_SIGNAL:
        return []
    told = _decode(signal.input.payloads[0], DeliveryStatus)
    sid, status = told.message_sid, told.message_status
    return [Heard(at=at, message_sid=sid, status=status, error_code=told.error_code)]


def _completed(name: str, payload: Payload, at: datetime, *, asked: HistoryEvent) -> list[Step]:
    if name == SEND:
        submission = _decode(payload, Submission)
        end = _end_by(submission)
        return [SendEnded(at=at, end=end, message_sid=submission.message_sid)]
    if name == SEARCH:
        result = _decode(payload, SearchResult)
        found = Searched(at=at, finding=result.finding, message_sid=result.message_sid)
        if result.message_sid is None or result.status is None:
            return [found]
        return [found, _told(at, result.message_sid, result.status, result.error_code)]
    if name == LOOK_UP:
        answer = _decode(payload, LookUp)
        scheduled = asked.activity_task_scheduled_event_attributes
        sid = _plain_field(scheduled.input.payloads[0], "message_sid")
        return [] if answer.status is None else [_told(at, sid, answer.status, answer.error_code)]
    return []


def _not_completed(
    event: HistoryEvent, activities: dict[int, tuple[str, HistoryEvent]]
) -> list[Step]:
    at = _at(event)
    if event.HasField("activity_task_failed_event_attributes"):
        failed = event.activity_task_failed_event_attributes
        name, _ = activities[failed.scheduled_event_id]
        end = _end_of(failed.failure.application_failure_info.type)
    elif event.HasField("activity_task_timed_out_event_attributes"):
        late = event.activity_task_timed_out_event_attributes
        name, _ = activities[late.scheduled_event_id]
        never_taken_up = TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_START
        kind = late.failure.timeout_failure_info.timeout_type
        end = SendEnd.NOT_SENT if kind == never_taken_up else SendEnd.UNKNOWN
    else:
        canceled = event.activity_task_canceled_event_attributes
        name, _ = activities[canceled.scheduled_event_id]
        end = SendEnd.NOT_SENT
    if name == SEND:
        return [SendEnded(at=at, end=end)]
    return [Searched(at=at, finding=None)] if name == SEARCH else []


def _end_by(submission: Submission) -> SendEnd:
    if submission.message_sid is not None:
        return SendEnd.TAKEN
    return SendEnd.NOT_SENT if submission.decision in _OUT_OF_TURN else SendEnd.HELD_BACK


def _end_of(error_type: str) -> SendEnd:
    if error_type not in set(FailureClass):
        return SendEnd.NOT_SENT  # an error without a class comes from before the POST
    failure_class = FailureClass(error_type)
    if failure_class is FailureClass.OUTCOME_UNKNOWN:
        return SendEnd.UNKNOWN
    return SendEnd.NOT_SENT if failure_class in RETRYABLE else SendEnd.REFUSED


def _told(at: datetime, sid: str, status: str, error_code: int | None) -> Heard:
    return Heard(at=at, message_sid=sid, status=status, error_code=error_code, by_callback=False)


def _at(event: HistoryEvent) -> datetime:
    return event.event_time.ToDatetime(tzinfo=UTC)


def _decode(payload: Payload, model: type[Model]) -> Model:
    decoded: Model = data_converter.payload_converter.from_payload(payload, model)
    return decoded


def _plain(payload: Payload) -> str:
    text: str = data_converter.payload_converter.from_payload(payload, str)
    return text


def _plain_field(payload: Payload, name: str) -> str:
    fields: dict[str, str] = data_converter.payload_converter.from_payload(payload, dict)
    return fields[name]
