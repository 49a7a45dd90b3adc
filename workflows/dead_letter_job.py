"""One decision about many dead letters, carried out batch by batch."""

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from temporalio import workflow
from temporalio.common import Priority
from temporalio.exceptions import ActivityError
from temporalio.workflow import ActivityCancellationType, ActivityHandle

with workflow.unsafe.imports_passed_through():
    from signedfor.contract import PROGRESS_QUERY
    from signedfor.contract import Priority as MessagePriority
    from signedfor.dead_letter_activities import (
        DEAD_LETTER_JOB,
        STOP_SIGNAL,
        Batch,
        DeadLetterActivities,
        JobProgress,
        JobRequest,
        JobState,
        JobStop,
        Page,
        PageRequest,
        Tally,
        job_id_of,
    )
    from signedfor.retry import BOUNDED_RETRY, UNLIMITED_RETRY

_PAGES_A_RUN = 20
"""About a thousand events."""
_BATCH = 25
"""So many are resolved in a second or two: a stop takes effect after them."""
_LAST = Priority(priority_key=MessagePriority.BULK.temporal_key)
"""Messages come first."""
_SELECT_TIMEOUT = timedelta(seconds=30)
_COUNT_TIMEOUT = timedelta(minutes=1)
"""Decisions that are under way are waited for."""
_RESOLVE_TIMEOUT = timedelta(minutes=5)
_HEARTBEAT_TIMEOUT = timedelta(seconds=10)
"""The activity heartbeats every two seconds."""

_T = TypeVar("_T")


@workflow.defn(name=DEAD_LETTER_JOB)
class DeadLetterJob:
    """Resolves the selected dead letters, each once, until all are done or it is stopped.

    It keeps which page it is at, and counts. Each dead letter knows by itself that it is resolved,
    and by which job: what a crash makes a worker do again changes nothing.
    """

    _request: JobRequest
    _started_at: datetime

    def __init__(self) -> None:
        self._tally = Tally()
        self._is_stop_requested = False
        self._stopped_by: str | None = None
        self._came_to_all = False
        self._ended_at: datetime | None = None

    @workflow.run
    async def run(self, request: JobRequest) -> JobProgress:
        """Come to every selected dead letter; a long job continues as new."""
        self._started_at = request.started_at or workflow.now()
        self._request, self._tally = request, request.tally
        self._describe()
        working = asyncio.create_task(self._work())
        while True:
            try:
                following = await asyncio.shield(working)
                break
            except asyncio.CancelledError:
                if working.done():
                    raise
                # Temporal's own "Request cancellation" means the same as the signal.
                self._is_stop_requested = True
        if following is not None and not self._is_stop_requested:
            workflow.continue_as_new(following)
        self._ended_at = workflow.now()
        self._describe()
        return self._progress()

    async def _work(self) -> JobRequest | None:
        """Work on page after page; the request of the run that continues, if one must."""
        token, pages = self._request.page_token, 0
        while not self._is_stop_requested:
            page = await self._unless_stopped(
                _start_selecting(PageRequest(selection=self._request.selection, page_token=token))
            )
            if page is None or not await self._resolve(page.message_ids):
                return None
            token, pages = page.next_page_token, pages + 1
            if not token:
                self._came_to_all = True
                return None
            if pages >= _PAGES_A_RUN:
                return self._request.model_copy(
                    update={
                        "page_token": token,
                        "tally": self._tally,
                        "started_at": self._started_at,
                    }
                )
        return None

    async def _resolve(self, message_ids: Sequence[str]) -> bool:
        """Resolve them; False if it was stopped before it came to all."""
        resolution = self._request.resolution.model_copy(update={"job_id": _job_id()})
        for begin in range(0, len(message_ids), _BATCH):
            ids = tuple(message_ids[begin : begin + _BATCH])
            if self._is_stop_requested:
                return False
            batch = Batch(message_ids=ids, resolution=resolution)
            tally = await self._unless_stopped(_start_resolving(batch))
            if tally is None:  # a worker that was lost may have resolved some
                tally = await _count_resolved(batch)
            self._tally = self._tally.plus(tally)
            self._describe()
            if tally.done < len(ids):
                return False
        return True

    async def _unless_stopped(self, activity: ActivityHandle[_T]) -> _T | None:
        """The activity's result; None if a stop came before there was one."""
        await workflow.wait_condition(lambda: activity.done() or self._is_stop_requested)
        activity.cancel()
        try:
            return await activity
        except ActivityError:
            if self._is_stop_requested:
                return None
            raise

    @workflow.signal(name=STOP_SIGNAL)
    def stop(self, stop: JobStop) -> None:
        """End after the dead letters that it is at; the others stay as they are."""
        self._is_stop_requested, self._stopped_by = True, stop.by

    @workflow.query(name=PROGRESS_QUERY)
    def progress(self) -> JobProgress:
        """How far it is."""
        return self._progress()

    def _progress(self) -> JobProgress:
        return JobProgress(
            job_id=_job_id(),
            action=self._request.resolution.action,
            by=self._request.resolution.by,
            state=self._state,
            selected=self._request.selected,
            tally=self._tally,
            started_at=self._started_at,
            ended_at=self._ended_at,
            stopped_by=self._stopped_by,
        )

    @property
    def _state(self) -> JobState:
        if self._ended_at is None:
            return JobState.STOPPING if self._is_stop_requested else JobState.RUNNING
        return JobState.FINISHED if self._came_to_all else JobState.STOPPED

    def _describe(self) -> None:
        """Markdown for the Temporal UI."""
        tally, selected = self._tally, self._request.selected
        counts = [
            f"{self._request.resolution.action}: {tally.resolved}",
            *(f"left as it was, {why}: {count}" for why, count in tally.skipped.items()),
            *(f"failed, {why}: {count}" for why, count in tally.failed.items()),
        ]
        text = f"**{self._state}**: {tally.done} of {selected} dead letters\n\n" + "\n".join(
            f"- {each}" for each in counts
        )
        if self._ended_at is None:
            text += f"\n\nStop it: `signedfor dead-letters stop {_job_id()}`, or cancel it here."
        workflow.set_current_details(text)


def _job_id() -> str:
    return job_id_of(workflow.info().workflow_id)


def _start_selecting(request: PageRequest) -> ActivityHandle[Page]:
    return workflow.start_activity_method(
        DeadLetterActivities.select_dead_letters,
        request,
        start_to_close_timeout=_SELECT_TIMEOUT,
        retry_policy=UNLIMITED_RETRY,
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        priority=_LAST,
        summary="find the next dead letters",
    )


def _start_resolving(batch: Batch) -> ActivityHandle[Tally]:
    return workflow.start_activity_method(
        DeadLetterActivities.resolve_dead_letters,
        batch,
        start_to_close_timeout=_RESOLVE_TIMEOUT,
        heartbeat_timeout=_HEARTBEAT_TIMEOUT,
        retry_policy=UNLIMITED_RETRY,
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        priority=_LAST,
        summary=f"{batch.resolution.action} {len(batch.message_ids)} dead letters",
    )


async def _count_resolved(batch: Batch) -> Tally:
    """How many of the batch are resolved; none if that cannot be found out now."""
    with contextlib.suppress(ActivityError):
        return await workflow.execute_activity_method(
            DeadLetterActivities.count_resolved,
            batch,
            start_to_close_timeout=_COUNT_TIMEOUT,
            heartbeat_timeout=_HEARTBEAT_TIMEOUT,
            retry_policy=BOUNDED_RETRY,
            priority=_LAST,
            summary=f"count what is done of {len(batch.message_ids)} dead letters",
        )
    return Tally()
