"""Which POSTs of a message may have been made, as far as its workflow's history shows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, TypeVar

from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import EventType, PendingActivityState, TimeoutType
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.converter import DataConverter

from signedfor.contract.failures import TERMINAL, FailureClass
from signedfor.message_activities import (
    AlreadyClaimed,
    DatabaseAway,
    Found,
    Listed,
    NeverSubmitted,
    SearchRequest,
    SearchResult,
    SendFailureDetail,
    SendRequest,
    SendResult,
    Sent,
    WrongClock,
)
from signedfor.payloads import UnreadablePayload

_Model = TypeVar("_Model")
_LOCAL_ACTIVITY: Final = "core_local_activity"
_SEND: Final = "send"
_SEARCH: Final = "find_message"
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
_COMMANDS: Final = frozenset(
    {
        EventType.EVENT_TYPE_MARKER_RECORDED,
        EventType.EVENT_TYPE_TIMER_STARTED,
        EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED,
        EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES,
    }
)
_ENDS: Final = frozenset(
    {
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW,
    }
)


@dataclass(frozen=True, kw_only=True)
class Gap:
    """The time of which the database has lost its records."""

    since: datetime
    """The database's last commit, or before it."""
    until: datetime
    """No POST began after it."""
    is_temporal_complete: bool = False
    """Temporal lost nothing: what its history does not show has not happened."""


@dataclass(frozen=True, kw_only=True)
class PossiblePosts:
    """POSTs that Twilio may have accepted."""

    numbered: dict[int, datetime] = field(default_factory=dict)
    """By submission: when it began, or before that."""
    unnumbered: datetime | None = None
    """After this one began of a submission that the history does not show."""
    sender: str | None = None
    """As the last attempt had it; None if the history shows none."""


@dataclass
class _Activity:
    """One that has been scheduled."""

    name: str
    began_at: datetime
    number: int = 1
    """A send's submission, or the first of those that a search is for."""


async def possible_posts(
    events: Sequence[HistoryEvent],
    converter: DataConverter,
    *,
    gap: Gap,
    pending: Sequence[PendingActivityInfo] = (),
) -> PossiblePosts:
    """Those of one run; `pending` are its open activities.

    Raises:
        UnreadablePayload: the history is encrypted with a key that the converter does not have.
    """
    reader = _Reader(converter)
    for event in events:
        await reader.read(event)
    return PossiblePosts(
        numbered=reader.posts | reader.pending_posts(gap, pending),
        unnumbered=reader.unnumbered(gap),
        sender=reader.sender,
    )


def has_open_send(events: Sequence[HistoryEvent]) -> bool:
    """Whether a send activity was scheduled and has not ended: then `pending` is needed."""
    scheduled = {
        each.event_id
        for each in events
        if each.activity_task_scheduled_event_attributes.activity_type.name == _SEND
    }
    return bool(scheduled - {_scheduled_id(each) for each in events})


def _scheduled_id(event: HistoryEvent) -> int | None:
    """The event that scheduled the activity that ends here."""
    match event.event_type:
        case EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
            return event.activity_task_completed_event_attributes.scheduled_event_id
        case EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED:
            return event.activity_task_failed_event_attributes.scheduled_event_id
        case EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT:
            return event.activity_task_timed_out_event_attributes.scheduled_event_id
        case EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED:
            return event.activity_task_canceled_event_attributes.scheduled_event_id
        case _:
            return None


class _Reader:
    """Reads events one after the other."""

    def __init__(self, converter: DataConverter) -> None:
        self.posts: dict[int, datetime] = {}
        self.sender: str | None = None
        self._converter = converter
        self._activities: dict[int, _Activity] = {}
        self._timers: dict[int, datetime] = {}
        self._task_began_at: datetime | None = None
        """A workflow task is in progress, or its worker was lost. A quick attempt may be made in
        it, which the history shows only when the task has completed."""
        self._tasks_since = _LONG_AGO
        """Start of the first task in a row that made no command: a quick attempt may last longer
        than one."""
        self._has_commands = True
        self._has_task = False
        self._unclear_since: datetime | None = None
        self._is_closed = False
        self._last_at = _LONG_AGO

    def unnumbered(self, gap: Gap) -> datetime | None:
        """Since when there may be a POST that the history does not show at all."""
        if self._unclear_since is not None or self._is_closed:
            return self._unclear_since
        if self._task_began_at is not None:
            return self._task_began_at
        if gap.is_temporal_complete or self._is_at_rest(gap):
            return None
        return max(gap.since, self._last_at)

    def _is_at_rest(self, gap: Gap) -> bool:
        """Whether it waits for a time after the gap, and Twilio has nothing of it to call about."""
        is_busy = self._has_task or self._activities or self.posts or not self._timers
        return not is_busy and min(self._timers.values()) > gap.until

    def pending_posts(
        self, gap: Gap, pending: Sequence[PendingActivityInfo]
    ) -> dict[int, datetime]:
        """The attempts of send activities that have not ended."""
        waiting = {
            each.activity_id
            for each in pending
            if each.state == PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED
            # Its last attempt was refused. By now, another may have begun that Temporal forgot.
            and (gap.is_temporal_complete or each.scheduled_time.ToDatetime(UTC) > gap.until)
        }
        return {
            each.number: each.began_at
            for scheduled_id, each in self._activities.items()
            if each.name == _SEND and str(scheduled_id) not in waiting
        }

    async def read(self, event: HistoryEvent) -> None:
        """Take in the next event."""
        at = event.event_time.ToDatetime(tzinfo=UTC)
        self._last_at = at
        self._has_commands |= event.event_type in _COMMANDS
        match event.event_type:
            case EventType.EVENT_TYPE_TIMER_STARTED:
                timer = event.timer_started_event_attributes
                fires_at = at + timer.start_to_fire_timeout.ToTimedelta()
                self._timers[event.event_id] = fires_at
            case EventType.EVENT_TYPE_TIMER_FIRED:
                self._timers.pop(event.timer_fired_event_attributes.started_event_id, None)
            case EventType.EVENT_TYPE_TIMER_CANCELED:
                self._timers.pop(event.timer_canceled_event_attributes.started_event_id, None)
            case EventType.EVENT_TYPE_MARKER_RECORDED:
                await self._read_local_activity(event)
            case _ if event.event_type in _ENDS:
                self._is_closed, self._task_began_at = True, None
            case _:
                self._read_task(event, at)
                await self._read_activity(event, at)

    def _read_task(self, event: HistoryEvent, at: datetime) -> None:
        match event.event_type:
            case EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED:
                self._has_task = True
                if event.workflow_task_scheduled_event_attributes.attempt > 1:
                    self._task_began_at = at
            case EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED:
                if self._has_commands:
                    self._tasks_since = at
                self._task_began_at, self._has_commands = self._tasks_since, False
            case EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
                self._has_task, self._task_began_at = False, None
            case _:
                pass

    async def _read_local_activity(self, event: HistoryEvent) -> None:
        marker = event.marker_recorded_event_attributes
        if marker.marker_name != _LOCAL_ACTIVITY:
            return
        # The SDK's core writes its data: no codec has seen them.
        [data] = self._converter.payload_converter.from_payloads(marker.details["data"].payloads)
        if data["activity_type"] != _SEND:
            return
        if marker.HasField("failure"):
            await self._read_failure(marker.failure, None, at=self._tasks_since)
        else:
            await self._read_sent(marker.details["result"], at=self._tasks_since)

    async def _read_activity(self, event: HistoryEvent, at: datetime) -> None:
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            await self._read_scheduled(event, at)
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED:
            started = event.activity_task_started_event_attributes
            if (activity := self._activities.get(started.scheduled_event_id)) is not None:
                activity.began_at = at
        activity = self._activities.pop(_scheduled_id(event) or 0, None)
        if activity is not None:
            await self._read_end(event, activity)

    async def _read_scheduled(self, event: HistoryEvent, at: datetime) -> None:
        scheduled = event.activity_task_scheduled_event_attributes
        activity = _Activity(scheduled.activity_type.name, at)
        if activity.name == _SEND:
            request = await self._first(scheduled.input, SendRequest)
            activity.number = 1 if request is None else request.submission
        if activity.name == _SEARCH:
            search = await self._first(scheduled.input, SearchRequest)
            activity.number = 1 if search is None else search.unresolved_from
        self._activities[event.event_id] = activity

    async def _read_end(self, event: HistoryEvent, activity: _Activity) -> None:
        match event.event_type:
            case EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
                result = event.activity_task_completed_event_attributes.result
                if activity.name == _SEND:
                    await self._read_sent(result, at=activity.began_at)
                if activity.name == _SEARCH:
                    await self._read_found(result, first=activity.number)
            case EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED if activity.name == _SEND:
                failure = event.activity_task_failed_event_attributes.failure
                await self._read_failure(failure, activity.number, at=activity.began_at)
            case EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT if activity.name == _SEND:
                failure = event.activity_task_timed_out_event_attributes.failure
                await self._read_failure(failure, activity.number, at=activity.began_at)
            case _:
                pass

    async def _read_sent(self, payloads: Payloads, *, at: datetime) -> None:
        result = await self._first(payloads, SendResult)
        if result is None:
            self._unclear_since = at
            return
        self.sender = result.sender or self.sender
        match result.decision:
            case Sent():
                self.posts[result.submission] = at
            case AlreadyClaimed(claimed_at=claimed_at):
                self.posts[result.submission] = claimed_at
            case WrongClock() | DatabaseAway() | Listed():
                return  # it did not look for a claim
            case _:
                self.posts.pop(result.submission, None)  # there was no claim
        self._unclear_since = None

    async def _read_failure(self, failure: Failure, number: int | None, *, at: datetime) -> None:
        application = failure.application_failure_info
        if failure.HasField("timeout_failure_info"):
            if (
                failure.timeout_failure_info.timeout_type
                == TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_START
            ):
                return
            if number is None:
                self._unclear_since = at
            else:
                self.posts[number] = at
            return
        if application.type not in set(FailureClass):
            return
        detail = await self._first(application.details, SendFailureDetail)
        number = number or (1 if detail is None else detail.submission)
        if application.type == FailureClass.OUTCOME_UNKNOWN:
            self.posts[number] = at
        elif application.type in TERMINAL:
            self.posts.pop(number, None)

    async def _read_found(self, payloads: Payloads, *, first: int) -> None:
        result = await self._first(payloads, SearchResult)
        match None if result is None else result.finding:
            case Found():
                self._unclear_since = None
            case NeverSubmitted():
                self._unclear_since = None
                for number in [each for each in self.posts if each >= first]:
                    del self.posts[number]
            case _:
                pass

    async def _first(self, payloads: Payloads, model: type[_Model]) -> _Model | None:
        """The first payload; None if there is none, or another version wrote it."""
        if not payloads.payloads:
            return None
        try:
            value: _Model
            (value,) = await self._converter.decode(payloads.payloads[:1], [model])
        except UnreadablePayload:
            raise
        except Exception:  # noqa: BLE001 - then it is not clear what happened, and that is safe
            return None
        return value
