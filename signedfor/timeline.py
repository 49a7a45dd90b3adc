"""What happened to a message, in sentences: its workflow's history, for people.

No sentence has the recipient's number or the text.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar, assert_never

from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import EventType
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory
from temporalio.converter import DataConverter

from signedfor import message_activities
from signedfor.contract import (
    CancelRequest,
    CancelResult,
    DeliveryStatus,
    MessageReport,
    MessageRequest,
    Outcome,
    names,
)
from signedfor.contract.failures import FailureClass
from signedfor.message_activities import (
    Absent,
    AccountHeld,
    AlreadyClaimed,
    Ambiguous,
    AttemptFailed,
    CampaignCanceled,
    DatabaseAway,
    Deferred,
    Expired,
    Found,
    InvalidRecipient,
    InvalidWindow,
    LimitReached,
    Listed,
    NeverSubmitted,
    NoOptIn,
    NoSender,
    NotSent,
    NotYet,
    Paused,
    SearchResult,
    SendFailureDetail,
    SendResult,
    Sent,
    StatusResult,
    Suppressed,
    WindowClosed,
    WrongClock,
)
from signedfor.payloads import INVALID_INPUT, UnreadablePayload
from signedfor.twilio import codes

_Model = TypeVar("_Model")
_LOCAL_ACTIVITY = "core_local_activity"


class Tone(StrEnum):
    """How an entry is to be read."""

    INFO = "info"
    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True)
class Entry:
    """One thing that happened."""

    at: datetime
    text: str
    tone: Tone = Tone.INFO


async def timeline(history: WorkflowHistory, converter: DataConverter) -> list[Entry]:
    """The entries of a message's history, in order; `converter` is the client's."""
    reader = _Reader(converter)
    entries: list[Entry] = []
    for event in history.events:
        sentence = await reader.sentence(event)
        if sentence is not None:
            text, tone = sentence
            entries.append(Entry(event.event_time.ToDatetime(tzinfo=UTC), text, tone))
    return entries


_Sentence = tuple[str, Tone]


class _Reader:
    """Reads events one after the other; a result names only the event that scheduled it."""

    def __init__(self, converter: DataConverter) -> None:
        self._converter = converter
        self._activities: dict[int, str] = {}

    async def sentence(self, event: HistoryEvent) -> _Sentence | None:  # noqa: C901, PLR0912 - one case for each kind of event
        match event.event_type:
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
                return await self._started(event)
            case EventType.EVENT_TYPE_MARKER_RECORDED:
                return await self._local_activity(event)
            case EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
                scheduled = event.activity_task_scheduled_event_attributes
                self._activities[event.event_id] = scheduled.activity_type.name
                return None
            case EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
                completed = event.activity_task_completed_event_attributes
                name = self._activities.get(completed.scheduled_event_id, "")
                return await self._result(name, completed.result)
            case EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED:
                failed = event.activity_task_failed_event_attributes
                name = self._activities.get(failed.scheduled_event_id, "")
                return await self._failure(name, failed.failure)
            case EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT:
                timed_out = event.activity_task_timed_out_event_attributes
                name = self._activities.get(timed_out.scheduled_event_id, "")
                return _timed_out(name)
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
                return await self._signal(event)
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED:
                return await self._cancel_request(event)
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_COMPLETED:
                return await self._cancel_result(event)
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED:
                return "Somebody requested its cancellation through Temporal.", Tone.INFO
            case EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED:
                return "A dead letter was opened.", Tone.WARNING
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED:
                ended = event.workflow_execution_completed_event_attributes
                report = await self._first(ended.result.payloads, MessageReport)
                return None if report is None else _outcome(report)
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED:
                refused = event.workflow_execution_failed_event_attributes
                return await self._workflow_failed(refused.failure)
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED:
                return "Somebody terminated the workflow through Temporal.", Tone.BAD
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED:
                return "The workflow was canceled.", Tone.INFO
            case _:
                return None

    async def _started(self, event: HistoryEvent) -> _Sentence:
        started = event.workflow_execution_started_event_attributes
        request = await self._first(started.input.payloads, MessageRequest)
        text = "Handed in"
        if request is not None and request.send_at is not None:
            text += f", to be sent at {_clock(request.send_at)}"
        return f"{text}.", Tone.INFO

    async def _local_activity(self, event: HistoryEvent) -> _Sentence | None:
        marker = event.marker_recorded_event_attributes
        if marker.marker_name != _LOCAL_ACTIVITY:
            return None
        # The SDK's core writes its data: no codec has seen them.
        [data] = self._converter.payload_converter.from_payloads(marker.details["data"].payloads)
        name = str(data["activity_type"])
        if marker.HasField("failure"):
            return await self._failure(name, marker.failure)
        return await self._result(name, marker.details["result"])

    async def _result(self, name: str, result: Payloads) -> _Sentence | None:
        match name:
            case "send":
                sent = await self._first(result.payloads, SendResult)
                return None if sent is None else _sent(sent)
            case "find_message":
                search = await self._first(result.payloads, SearchResult)
                return None if search is None else _found(search)
            case "find_claim":
                claim = await self._first(result.payloads, AlreadyClaimed)
                return None if claim is None else _not_sent(claim)
            case "fetch_status":
                status = await self._first(result.payloads, StatusResult)
                return None if status is None else _fetched(status)
            case "await_resume":
                return "It waits no longer.", Tone.INFO
            case "record_suppression":
                return "The recipient was added to the suppressions.", Tone.WARNING
            case _:
                return None

    async def _failure(self, name: str, failure: Failure) -> _Sentence | None:
        if failure.HasField("canceled_failure_info"):
            return None  # before it began
        application = failure.application_failure_info
        if name != "send" or application.type not in set(FailureClass):
            return f"The activity {name} failed; Temporal's history says why.", Tone.WARNING
        detail = await self._first(application.details.payloads, SendFailureDetail)
        failure_class = FailureClass(application.type)
        if failure_class is FailureClass.DUPLICATE:
            return "Not sent: another message had just brought the same content.", Tone.BAD
        error_code = detail.error_code if detail else None
        attempt = f"Attempt {detail.attempts} failed" if detail else "The attempt failed"
        code = f" with Twilio's code {error_code}" if error_code else ""
        if failure_class is not FailureClass.TEMPORARILY_UNAVAILABLE:
            return f"{attempt}{code}: {codes.meaning_for(failure_class, error_code)}", Tone.BAD
        row = codes.find(error_code)
        # The sentence of the class is about all attempts, not about one.
        meaning = row.meaning if row else "Twilio could not be reached, or did not process it."
        return f"{attempt}{code}: {meaning}", Tone.WARNING

    async def _workflow_failed(self, failure: Failure) -> _Sentence:
        if failure.application_failure_info.type == INVALID_INPUT:
            with contextlib.suppress(UnreadablePayload):
                error = await self._converter.decode_failure(failure)
                return f"Refused. {error}", Tone.BAD  # names fields, never values
        return "The workflow failed; Temporal's history says why.", Tone.BAD

    async def _signal(self, event: HistoryEvent) -> _Sentence | None:
        signal = event.workflow_execution_signaled_event_attributes
        match signal.signal_name:
            case names.DELIVERY_STATUS_SIGNAL:
                status = await self._first(signal.input.payloads, DeliveryStatus)
                return None if status is None else _receipt(status)
            case message_activities.ATTEMPT_FAILED_SIGNAL:
                failed = await self._first(signal.input.payloads, AttemptFailed)
                return None if failed is None else _attempt_failed(failed)
            case _:
                return None

    async def _cancel_request(self, event: HistoryEvent) -> _Sentence | None:
        request = event.workflow_execution_update_accepted_event_attributes.accepted_request
        if request.input.name != names.CANCEL_UPDATE:
            return None
        cancel = await self._first(request.input.args.payloads, CancelRequest)
        by = cancel.by if cancel and cancel.by else "Somebody"
        why = f": {cancel.reason}" if cancel and cancel.reason else "."
        return f"{by} asked to cancel it{why}", Tone.INFO

    async def _cancel_result(self, event: HistoryEvent) -> _Sentence | None:
        outcome = event.workflow_execution_update_completed_event_attributes.outcome
        result = await self._first(outcome.success.payloads, CancelResult)
        if result is None or result.canceled:
            return None  # the outcome says so
        return f"It was not canceled: it is {result.status}.", Tone.WARNING

    async def _first(self, payloads: Sequence[Payload], model: type[_Model]) -> _Model | None:
        """The first payload; None if there is none, or another version wrote it."""
        if not payloads:
            return None
        try:
            value: _Model
            (value,) = await self._converter.decode(payloads[:1], [model])
        except Exception:  # noqa: BLE001 - what cannot be read is left out
            return None
        return value


def _clock(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _sent(result: SendResult) -> _Sentence:
    decision = result.decision
    if isinstance(decision, Sent):
        return (
            f"Attempt {result.attempts}: Twilio accepted it as {decision.message_sid}.",
            Tone.GOOD,
        )
    return _not_sent(decision)


def _not_sent(decision: NotSent) -> _Sentence:
    match decision:
        case AlreadyClaimed(claimed_at=at):
            return (
                f"An attempt of {_clock(at)} may have sent it, so it was not sent again.",
                Tone.WARNING,
            )
        case Listed():
            return "Twilio lists what may be this message, so it was not sent again.", Tone.WARNING
        case Suppressed(reason=reason):
            return f"Not sent: the recipient is suppressed ({reason}).", Tone.WARNING
        case NoOptIn():
            return "Not sent: the recipient has no opt-in for its category.", Tone.WARNING
        case Expired():
            return "Not sent: its time was over.", Tone.WARNING
        case NoSender():
            return "Not sent: it names no sender, and no default is configured.", Tone.BAD
        case InvalidRecipient(problem=problem):
            return f"Not sent: its recipient {problem}.", Tone.BAD
        case InvalidWindow():
            return "Not sent: its send window never opens for its recipient.", Tone.BAD
        case CampaignCanceled():
            return "Not sent: its campaign was canceled.", Tone.INFO
        case _:
            return _not_yet(decision)


def _not_yet(decision: NotYet) -> _Sentence:
    match decision:
        case Deferred(reserved_at=at, by_account=by_account):
            limit = "the account's rate" if by_account else "its sender's rate"
            return f"It waits for {limit}; its time is {_clock(at)}.", Tone.INFO
        case WindowClosed(opens_at=at, limit=LimitReached(rule=rule)):
            return f"The limit {rule} has no place for it until {_clock(at)}.", Tone.WARNING
        case WindowClosed(opens_at=at):
            return f"Its send window is closed until {_clock(at)}.", Tone.INFO
        case Paused():
            return "Its sender or its campaign is paused; it waits.", Tone.WARNING
        case DatabaseAway():
            return "The database did not answer; it waits.", Tone.WARNING
        case AccountHeld(error_code=code):
            why = f" (code {code})" if code else ""
            return f"Twilio refuses the account's requests{why}; it waits.", Tone.WARNING
        case WrongClock():
            return "The worker's clock was wrong; it waits for another worker.", Tone.WARNING
        case _:
            assert_never(decision)


def _found(search: SearchResult) -> _Sentence:
    match search.finding:
        case Found(message_sid=sid, status=status):
            return f"Looked in Twilio's list: it is there, as {sid} ({status}).", Tone.GOOD
        case Absent():
            return "Looked in Twilio's list: nothing there could be it.", Tone.WARNING
        case NeverSubmitted():
            return "The attempt records show that Twilio does not have it.", Tone.INFO
        case Ambiguous():
            return "Looked in Twilio's list: a message there may be it, or another.", Tone.WARNING
        case _:
            assert_never(search.finding)


def _fetched(status: StatusResult) -> _Sentence:
    if status.status is None:
        return "Asked Twilio for its status: Twilio has no message with its SID.", Tone.WARNING
    code = f", code {status.error_code}" if status.error_code else ""
    return f"Asked Twilio for its status: {status.status}{code}.", Tone.INFO


def _receipt(status: DeliveryStatus) -> _Sentence:
    code = f", code {status.error_code}" if status.error_code else ""
    tone = {"delivered": Tone.GOOD, "read": Tone.GOOD, "failed": Tone.BAD, "undelivered": Tone.BAD}
    return (
        f"Twilio reported {status.message_status}{code} ({status.message_sid}).",
        tone.get(status.message_status, Tone.INFO),
    )


def _attempt_failed(failed: AttemptFailed) -> _Sentence:
    code = f" with Twilio's code {failed.error_code}" if failed.error_code else ""
    return (
        f"Attempt {failed.attempts} failed{code}; the next is at {_clock(failed.next_attempt_at)}.",
        Tone.WARNING,
    )


def _timed_out(name: str) -> _Sentence:
    if name == "send":
        return "The worker was lost during the attempt; it may have been sent.", Tone.WARNING
    return f"The activity {name} did not end in time.", Tone.WARNING


_OUTCOME_TONES = {
    Outcome.DELIVERED: Tone.GOOD,
    Outcome.UNCONFIRMED: Tone.WARNING,
    Outcome.SUPPRESSED: Tone.WARNING,
    Outcome.EXPIRED: Tone.WARNING,
    Outcome.CANCELED: Tone.INFO,
    Outcome.UNDELIVERED: Tone.BAD,
    Outcome.FAILED: Tone.BAD,
}


def _outcome(report: MessageReport) -> _Sentence:
    return f"Ended as {report.outcome}. {report.reason}", _OUTCOME_TONES[report.outcome]
