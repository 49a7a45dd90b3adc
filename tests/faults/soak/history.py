"""What a workflow's history proves: sends, searches, receipts, shown statuses and its end."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import TypeVar, assert_never

from pydantic import BaseModel
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType, TimeoutType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent

from signedfor.contract import DELIVERY_STATUS_SIGNAL, DeliveryStatus, MessageReport
from signedfor.contract.failures import RETRYABLE, FailureClass
from signedfor.message_activities import (
    Absent,
    AccountHeld,
    AlreadyClaimed,
    Ambiguous,
    CampaignCanceled,
    DatabaseAway,
    Deferred,
    Expired,
    Found,
    InvalidRecipient,
    InvalidWindow,
    Listed,
    NeverSubmitted,
    NoOptIn,
    NoSender,
    Paused,
    SearchActivities,
    SearchResult,
    SendActivities,
    SendResult,
    Sent,
    StatusActivities,
    StatusRequest,
    StatusResult,
    Suppressed,
    WindowClosed,
    WrongClock,
)
from signedfor.payloads import data_converter
from signedfor.search_attributes import MESSAGE_STATUS

SEND = SendActivities.send.__name__
SEARCH = SearchActivities.find_message.__name__
FIND_CLAIM = SearchActivities.find_claim.__name__
_LOCAL_ACTIVITY = "core_local_activity"
_FETCH_STATUS = StatusActivities.fetch_status.__name__

Finding = Found | Absent | NeverSubmitted | Ambiguous
Model = TypeVar("Model", bound=BaseModel)


class SendOutcome(Enum):
    """How a send activity ended, as far as sending again is concerned."""

    ACCEPTED = auto()
    """Twilio answered with a SID."""
    BLOCKED = auto()
    """The last check found it suppressed, expired or canceled: no POST, now or later."""
    NOT_SENT = auto()
    """Twilio certainly has not accepted it, or it was not due yet: a retry is allowed."""
    REFUSED = auto()
    """Twilio refused it permanently."""
    UNKNOWN = auto()
    """Twilio may have accepted it."""


@dataclass(frozen=True, kw_only=True)
class SendStarted:
    """A send activity was scheduled."""

    at: datetime


@dataclass(frozen=True, kw_only=True)
class TaskLost:
    """A workflow task did not complete: a send may have been made in it and left no marker."""

    at: datetime
    """When it was scheduled."""
    by_reset: bool = False
    """The run was reset to it: what the earlier run did in it, that run's history has."""


@dataclass(frozen=True, kw_only=True)
class SendFinished:
    """A send activity ended; `message_sid` if Twilio returned one."""

    at: datetime
    outcome: SendOutcome
    message_sid: str | None = None
    is_claim_held: bool = False
    """Another attempt had claimed the submission, so this one made no POST."""


@dataclass(frozen=True, kw_only=True)
class Searched:
    """Twilio's list was searched; `finding` is None if the search failed."""

    at: datetime
    finding: Finding | None

    @property
    def message_sid(self) -> str | None:
        """The SID that was found."""
        return self.finding.message_sid if isinstance(self.finding, Found) else None


@dataclass(frozen=True, kw_only=True)
class StatusReceived:
    """A status that reached the workflow: by a callback, or by a look-up."""

    at: datetime
    message_sid: str
    status: str
    error_code: int | None = None
    by_callback: bool = True


@dataclass(frozen=True, kw_only=True)
class StatusShown:
    """The search attribute `MessageStatus` was written."""

    at: datetime
    status: str


Event = SendStarted | TaskLost | SendFinished | Searched | StatusReceived | StatusShown


@dataclass(frozen=True, kw_only=True)
class History:
    """One workflow run. `closed_at` is None while it runs; `report` is a message's result."""

    run_id: str = ""
    """Of the run that a caller has started: a reset run has that of the first one."""
    events: tuple[Event, ...] = ()
    closed_at: datetime | None = None
    completed: bool = False
    report: MessageReport | None = None
    is_waiting: bool = False
    """It has set a timer: it was not merely started, a worker has executed it."""
    unfinished_task_at: datetime | None = None
    """It was terminated, as by a reset, during a workflow task that was scheduled then.

    A send may have been made in it, and go on after it.
    """

    @property
    def is_reset(self) -> bool:
        """Whether it begins with the history of an earlier run."""
        return any(isinstance(event, TaskLost) and event.by_reset for event in self.events)

    @property
    def sids(self) -> frozenset[str]:
        """The SIDs that the workflow knows."""
        known = (
            event.message_sid
            for event in self.events
            if isinstance(event, SendFinished | Searched | StatusReceived)
        )
        return frozenset(sid for sid in known if sid is not None)

    def has_callback(self, message_sid: str, status: str) -> bool:
        """Whether a callback with this status reached it."""
        return any(
            isinstance(event, StatusReceived)
            and event.by_callback
            and (event.message_sid, event.status) == (message_sid, status)
            for event in self.events
        )


_CLOSING = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED,
}
_TASK_LOST = {
    EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT,
    EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED,
}
_AT_ONCE = timedelta(seconds=1)
_TIMERS = {
    EventType.EVENT_TYPE_TIMER_STARTED: 1,
    EventType.EVENT_TYPE_TIMER_FIRED: -1,
    EventType.EVENT_TYPE_TIMER_CANCELED: -1,
}


def read_history(events: Sequence[HistoryEvent], *, of_message: bool = True) -> History:
    """Read a workflow's history; `of_message` is false for a dead letter's."""
    found: list[Event] = []
    activities: dict[int, tuple[str, HistoryEvent]] = {}
    report = None
    task = _Task()
    for event in events:
        task.follow(event)
        if event.event_type in _TASK_LOST and task.scheduled_at is not None:
            found.append(TaskLost(at=task.scheduled_at, by_reset=_is_reset(event)))
        found += _events_from(event, activities)
        if event.HasField("workflow_execution_completed_event_attributes") and of_message:
            completed = event.workflow_execution_completed_event_attributes
            report = _decode(completed.result.payloads[0], MessageReport)
    last = events[-1]
    closed = last.event_type in _CLOSING
    return History(
        run_id=events[0].workflow_execution_started_event_attributes.original_execution_run_id,
        # A local send's marker comes when its task has ended, perhaps after its callback.
        events=tuple(sorted(_one_after_another(found), key=lambda each: each.at)),
        closed_at=_at(last) if closed else None,
        completed=last.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
        report=report,
        unfinished_task_at=(
            task.scheduled_at
            if last.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED
            else None
        ),
        is_waiting=not closed and sum(_TIMERS.get(event.event_type, 0) for event in events) > 0,
    )


class _Task:
    """The workflow task that is not completed, while the events of a history are followed."""

    def __init__(self) -> None:
        self.scheduled_at: datetime | None = None
        """When it was scheduled first, if there is one."""
        self._completed: tuple[datetime, datetime] | None = None
        """When the last one was scheduled first, and completed; None after any command."""

    def follow(self, event: HistoryEvent) -> None:
        match event.event_type:
            case EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED:
                self.scheduled_at = self.scheduled_at or self._extended_since(_at(event))
            case EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
                if self.scheduled_at is not None:
                    self._completed = self.scheduled_at, _at(event)
                self.scheduled_at = None
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
                pass
            case _:
                self._completed = None

    def _extended_since(self, at: datetime) -> datetime:
        """When the task that this one continues was scheduled, or `at`.

        The SDK extends a task whose local activity takes long: it completes it without a command,
        and continues at once in a new one.
        """
        if self._completed is None or at - self._completed[1] > _AT_ONCE:
            return at
        return self._completed[0]


def _one_after_another(events: Sequence[Event]) -> list[Event]:
    """The same, where a send has ended before the next one starts.

    Local sends of one workflow task have the times of their starts, and end with the task.
    """
    ordered: list[Event] = []
    next_start: datetime | None = None
    for event in reversed(events):
        if isinstance(event, SendStarted):
            next_start = event.at
        elif isinstance(event, SendFinished) and next_start is not None:
            event = replace(event, at=min(event.at, next_start))  # noqa: PLW2901 - the same event
        ordered.append(event)
    return ordered[::-1]


def _is_reset(event: HistoryEvent) -> bool:
    """Whether this is where a reset has ended the copied part of a history."""
    cause = event.workflow_task_failed_event_attributes.cause
    return cause == WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW


def _events_from(
    event: HistoryEvent, activities: dict[int, tuple[str, HistoryEvent]]
) -> list[Event]:
    at = _at(event)
    match event.event_type:
        case EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            name = event.activity_task_scheduled_event_attributes.activity_type.name
            activities[event.event_id] = (name, event)
            return [SendStarted(at=at)] if name == SEND else []
        case EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
            completed = event.activity_task_completed_event_attributes
            name, scheduled = activities[completed.scheduled_event_id]
            return _completed(name, completed.result.payloads[0], at, scheduled=scheduled)
        case (
            EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED
            | EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT
            | EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED
        ):
            return _not_completed(event, activities)
        case EventType.EVENT_TYPE_MARKER_RECORDED:
            return _sent_locally(event)
        case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
            return _signaled(event, at)
        case EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES:
            attributes = event.upsert_workflow_search_attributes_event_attributes
            payload = attributes.search_attributes.indexed_fields.get(MESSAGE_STATUS.name)
            return [] if payload is None else [StatusShown(at=at, status=_text(payload))]
    return []


def _sent_locally(event: HistoryEvent) -> list[Event]:
    """The send of a local activity's marker, which the SDK writes when it has ended.

    A look for its claim, where a message ends before it is sent, shows a send as well if there is
    one: it was made in a workflow task that was lost.
    """
    marker = event.marker_recorded_event_attributes
    if marker.marker_name != _LOCAL_ACTIVITY:
        return []
    data = json.loads(marker.details["data"].payloads[0].data)
    if data["activity_type"] not in {SEND, FIND_CLAIM}:
        return []
    scheduled_at = data["original_schedule_time"]
    started = SendStarted(
        at=datetime.fromtimestamp(scheduled_at["seconds"] + scheduled_at["nanos"] / 1e9, UTC)
    )
    if data["activity_type"] == FIND_CLAIM:
        is_held = not marker.HasField("failure") and marker.details["result"].payloads[0].data
        return [started, _claim_held(_at(event))] if is_held else []
    if not marker.HasField("failure"):
        result = _decode(marker.details["result"].payloads[0], SendResult)
        return [started, _finished(result, _at(event))]
    failure = marker.failure
    if failure.HasField("timeout_failure_info"):
        outcome = _outcome_of_timeout(failure.timeout_failure_info.timeout_type)
    elif failure.HasField("canceled_failure_info"):
        outcome = SendOutcome.NOT_SENT
    else:
        outcome = _outcome_of_error(failure.application_failure_info.type)
    return [started, SendFinished(at=_at(event), outcome=outcome)]


def _signaled(event: HistoryEvent, at: datetime) -> list[Event]:
    signal = event.workflow_execution_signaled_event_attributes
    if signal.signal_name != DELIVERY_STATUS_SIGNAL:
        return []
    callback = _decode(signal.input.payloads[0], DeliveryStatus)
    return [
        StatusReceived(
            at=at,
            message_sid=callback.message_sid,
            status=callback.message_status,
            error_code=callback.error_code,
        )
    ]


def _completed(
    name: str, payload: Payload, at: datetime, *, scheduled: HistoryEvent
) -> list[Event]:
    if name == SEND:
        return [_finished(_decode(payload, SendResult), at)]
    if name == SEARCH:
        finding = _decode(payload, SearchResult).finding
        searched = Searched(at=at, finding=finding)
        if not isinstance(finding, Found):
            return [searched]
        return [searched, _looked_up(at, finding.message_sid, finding.status, finding.error_code)]
    if name == _FETCH_STATUS:
        answer = _decode(payload, StatusResult)
        inputs = scheduled.activity_task_scheduled_event_attributes.input
        sid = _decode(inputs.payloads[0], StatusRequest).message_sid
        if answer.status is None:
            return []
        return [_looked_up(at, sid, answer.status, answer.error_code)]
    return []


def _claim_held(at: datetime) -> SendFinished:
    return SendFinished(at=at, outcome=SendOutcome.UNKNOWN, is_claim_held=True)


def _finished(result: SendResult, at: datetime) -> SendFinished:
    match result.decision:
        case Sent(message_sid=sid):
            return SendFinished(at=at, outcome=SendOutcome.ACCEPTED, message_sid=sid)
        case Suppressed() | NoOptIn() | Expired() | CampaignCanceled():
            return SendFinished(at=at, outcome=SendOutcome.BLOCKED)
        case AlreadyClaimed():
            return _claim_held(at)
        case InvalidRecipient():
            return SendFinished(at=at, outcome=SendOutcome.NOT_SENT)
        case NoSender() | InvalidWindow() | Listed() | Deferred() | WindowClosed():
            return SendFinished(at=at, outcome=SendOutcome.NOT_SENT)
        case Paused() | AccountHeld() | DatabaseAway() | WrongClock():
            return SendFinished(at=at, outcome=SendOutcome.NOT_SENT)
        case _:
            assert_never(result.decision)


def _not_completed(
    event: HistoryEvent, activities: dict[int, tuple[str, HistoryEvent]]
) -> list[Event]:
    at = _at(event)
    if event.HasField("activity_task_failed_event_attributes"):
        failed = event.activity_task_failed_event_attributes
        name, _ = activities[failed.scheduled_event_id]
        outcome = _outcome_of_error(failed.failure.application_failure_info.type)
    elif event.HasField("activity_task_timed_out_event_attributes"):
        timed_out = event.activity_task_timed_out_event_attributes
        name, _ = activities[timed_out.scheduled_event_id]
        outcome = _outcome_of_timeout(timed_out.failure.timeout_failure_info.timeout_type)
    else:
        canceled = event.activity_task_canceled_event_attributes
        name, _ = activities[canceled.scheduled_event_id]
        outcome = SendOutcome.NOT_SENT
    if name == SEND:
        return [SendFinished(at=at, outcome=outcome)]
    return [Searched(at=at, finding=None)] if name == SEARCH else []


def _outcome_of_timeout(kind: TimeoutType.ValueType) -> SendOutcome:
    never_started = kind == TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_START
    return SendOutcome.NOT_SENT if never_started else SendOutcome.UNKNOWN


def _outcome_of_error(error_type: str) -> SendOutcome:
    if error_type not in set(FailureClass):
        return SendOutcome.NOT_SENT  # an error without a class was raised before the POST
    failure_class = FailureClass(error_type)
    if failure_class is FailureClass.OUTCOME_UNKNOWN:
        return SendOutcome.UNKNOWN
    return SendOutcome.NOT_SENT if failure_class in RETRYABLE else SendOutcome.REFUSED


def _looked_up(at: datetime, sid: str, status: str, error_code: int | None) -> StatusReceived:
    return StatusReceived(
        at=at, message_sid=sid, status=status, error_code=error_code, by_callback=False
    )


def _at(event: HistoryEvent) -> datetime:
    return event.event_time.ToDatetime(tzinfo=UTC)


def _decode(payload: Payload, model: type[Model]) -> Model:
    decoded: Model = data_converter.payload_converter.from_payload(payload, model)
    return decoded


def _text(payload: Payload) -> str:
    text: str = data_converter.payload_converter.from_payload(payload, str)
    return text
