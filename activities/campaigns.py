"""Dispatching a campaign: as many rows as its sender can use, each started once."""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from datetime import timedelta
from typing import Final, Protocol, TypeVar

from temporalio import activity
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from activities.dispatch_budget import PAGE, DispatchBudget, dispatch_budget
from activities.threads import in_thread
from signedfor.campaign_activities import (
    NO_SUCH_CAMPAIGN,
    CampaignActivities,
    CampaignKey,
    CampaignStatus,
    CountRequest,
    DispatchResult,
    MessageCounts,
    OutcomeCounts,
    StateChange,
    messages_of,
)
from signedfor.campaigns.counts import count_ended, count_outcomes
from signedfor.client import Client as SignedforClient
from signedfor.contract import (
    CampaignMessage,
    CampaignState,
    MessageRequest,
    Outcome,
    Stage,
    campaign_message_id,
    message_workflow_id,
)
from signedfor.search_attributes import MESSAGE_STATUS
from signedfor.store.campaigns import CampaignRecord, CampaignRow, Campaigns, NoSuchCampaign
from signedfor.template import render

_logger = logging.getLogger("signedfor.campaigns")

CONCURRENT_STARTS: Final = 20
"""Messages started at once."""
_RPC_TIMEOUT = timedelta(seconds=10)
_HEARTBEAT_SECONDS = 2
_INTERRUPTED = timedelta(seconds=1)
"""The wait after a dispatch that was cut short: by a decision that the workflow is about to learn,
or because another attempt, which had timed out, has progressed further."""

_T = TypeVar("_T")


class SenderRates(Protocol):
    """The part of the rate limiter that the dispatcher uses."""

    def backlog(self, sender: str) -> timedelta:
        """How much of the sender's time is reserved beyond now."""

    def rate(self, sender: str) -> float:
        """The sender's segments a second."""


class CampaignDispatcher(CampaignActivities):
    """Dispatches rows, writes the campaign's state, and counts its messages and outcomes."""

    def __init__(
        self, campaigns: Campaigns, rates: SenderRates, temporal: Client, *, page: int = PAGE
    ) -> None:
        self._campaigns = campaigns
        self._rates = rates
        self._temporal = temporal
        self._client = SignedforClient(temporal)
        self._page = page

    @in_thread
    def open_campaign(self, key: CampaignKey) -> CampaignStatus:
        """Its status, once its rows are loaded.

        Raises:
            ApplicationError: there is none (for good), or its rows are still being loaded.
            DatabaseUnavailable: the database cannot be read.
        """
        record = self._existing(key.campaign_id)
        if record.state is CampaignState.LOADING:
            raise ApplicationError(
                f"The rows of campaign {key.campaign_id} are not loaded yet. "
                "Run `campaign start` with the same file again.",
                type="CampaignLoading",
            )
        return _status(record)

    @in_thread
    def set_campaign_state(self, change: StateChange) -> CampaignStatus:
        """Write the state, which applies to every message's last check from then.

        Raises:
            ApplicationError: there is no such campaign any more.
            DatabaseUnavailable: the database cannot be written.
        """
        try:
            self._campaigns.set_state(change.campaign_id, change.state, since=change.since)
        except NoSuchCampaign as error:
            raise _no_such_campaign(error) from None
        return _status(self._existing(change.campaign_id))

    @activity.defn
    async def dispatch_rows(self, key: CampaignKey) -> DispatchResult:
        """Start the messages of the next rows, in order; one that was started before is left alone.

        The database says which rows are next and records the progress, so that a later attempt or
        run continues from there.

        Raises:
            ApplicationError: `DispatchFailed`, retryable; what was started stays so.
            DatabaseUnavailable: the database cannot be read or written.
        """
        record = await asyncio.to_thread(self._existing, key.campaign_id)
        next_in = _INTERRUPTED
        if record.state is CampaignState.RUNNING:
            async with _heartbeats():
                record, next_in = await self._dispatch(record)
        return DispatchResult(status=_status(record), next_in=next_in)

    async def _dispatch(self, record: CampaignRecord) -> tuple[CampaignRecord, timedelta]:
        """Start the next rows' messages; return the record, and when to dispatch more."""
        budget = await self._budget(record)
        page = await asyncio.to_thread(
            self._campaigns.page, record.campaign_id, after=record.last_row, limit=budget.rows
        )
        if budget.rows and not page:
            return await self._record_progress(record, [], last_row=record.rows), timedelta(0)
        rows = page[: budget.fitting(row.segments for row in page)]
        for begin in range(0, len(rows), CONCURRENT_STARTS):
            batch = rows[begin : begin + CONCURRENT_STARTS]
            started = await _all(self._start(record, row) for row in batch)
            last_row = batch[-1].number
            record = await self._record_progress(record, started, last_row=last_row)
            if record.state is not CampaignState.RUNNING or record.last_row != last_row:
                return record, _INTERRUPTED
        draw = random.random()  # noqa: S311 - jitter, not a secret
        segments = sum(row.segments for row in rows)
        return record, budget.next_in(len(rows), segments, draw=draw)

    async def _record_progress(
        self, record: CampaignRecord, started: Sequence[bool], *, last_row: int
    ) -> CampaignRecord:
        """Record the progress up to this row; return the campaign's record."""
        passed = last_row - record.last_row
        if missing := passed - len(started):
            _logger.warning(
                "%d rows of campaign %s, before or at row %d, are skipped: they are not in the "
                "database any more",
                missing,
                record.campaign_id,
                last_row,
            )
        return await asyncio.to_thread(
            self._campaigns.dispatched,
            record.campaign_id,
            last_row=last_row,
            skipped=record.skipped + passed - started.count(True),
        )

    @activity.defn
    async def count_messages(self, request: CountRequest) -> MessageCounts:
        """How many of its messages are running, and how many of its rows have ended.

        If visibility shows none running, the last row's workflow is described as well, because
        visibility may lag for minutes.
        """
        running, ended = await count_ended(
            self._temporal, request.campaign_id, rpc_timeout=_RPC_TIMEOUT
        )
        if running == 0 and await self._is_running(request.campaign_id, request.last_row):
            running = 1
        return MessageCounts(running=running, ended=ended)

    @activity.defn
    async def count_outcomes(self, key: CampaignKey) -> OutcomeCounts:
        """How its rows ended; outcomes that did not occur are left out."""
        counts = await count_outcomes(self._temporal, key.campaign_id, rpc_timeout=_RPC_TIMEOUT)
        return OutcomeCounts(outcomes={Outcome(name): n for name, n in counts.items()})

    def _existing(self, campaign_id: str) -> CampaignRecord:
        record = self._campaigns.find(campaign_id)
        if record is None:
            raise _no_such_campaign(
                f"There is no campaign {campaign_id} in the database that this worker uses."
            )
        return record

    async def _budget(self, record: CampaignRecord) -> DispatchBudget:
        sender = record.message.sender
        unstarted, waiting = await _all(
            self._count(record.campaign_id, f"ExecutionStatus='Running' AND {_is_at(*stages)}")
            for stages in ((Stage.SENDING,), (Stage.WAITING, Stage.SCHEDULED, Stage.RETRYING))
        )
        return dispatch_budget(
            backlog=await asyncio.to_thread(self._rates.backlog, sender),
            rate=await asyncio.to_thread(self._rates.rate, sender),
            segments_per_row=max(record.segments / max(record.rows, 1), 1),
            unstarted=unstarted,
            waiting=waiting,
            page=self._page,
        )

    async def _start(self, record: CampaignRecord, row: CampaignRow) -> bool:
        """Start the row's message; False if none can be made of it."""
        try:
            request = _message(record, row)
        except ValueError as error:  # pydantic's too
            # The file was checked when it was read: this is a defect, and the other rows go on.
            _logger.warning(
                "Row %d of campaign %s is skipped: no message can be made of it (%s)",
                row.number,
                record.campaign_id,
                type(error).__name__,
            )
            return False
        try:
            await self._client.send(
                request,
                message_id=campaign_message_id(record.campaign_id, row.number),
                rpc_timeout=_RPC_TIMEOUT,
            )
        except (RPCError, TimeoutError) as error:
            raise ApplicationError(
                f"Row {row.number} could not be dispatched ({type(error).__name__}).",
                type="DispatchFailed",
            ) from None
        return True

    async def _is_running(self, campaign_id: str, row: int) -> bool:
        """Whether the row's message is running."""
        workflow_id = message_workflow_id(campaign_message_id(campaign_id, row))
        handle = self._temporal.get_workflow_handle(workflow_id)
        try:
            found = await handle.describe(rpc_timeout=_RPC_TIMEOUT)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return False
        return found.status is WorkflowExecutionStatus.RUNNING

    async def _count(self, campaign_id: str, clause: str) -> int:
        query = f"{messages_of(campaign_id)} AND {clause}"
        counted = await self._temporal.count_workflows(query, rpc_timeout=_RPC_TIMEOUT)
        return counted.count


def _status(record: CampaignRecord) -> CampaignStatus:
    return CampaignStatus(
        state=record.state,
        since=record.since,
        rows=record.rows,
        last_row=record.last_row,
        skipped=record.skipped,
    )


def _message(record: CampaignRecord, row: CampaignRow) -> MessageRequest:
    common: CampaignMessage = record.message
    return MessageRequest(
        to=row.to,
        sender=common.sender,
        body=render(common.body, row.fields),
        media_urls=common.media_urls,
        priority=common.priority,
        category=common.category,
        tenant=common.tenant,
        expires_at=common.expires_at,
        send_window=common.send_window,
        receipt_timeout_seconds=common.receipt_timeout_seconds,
        on_unknown_outcome=common.on_unknown_outcome,
        tags=common.tags,
        campaign_id=record.campaign_id,
    )


def _is_at(*stages: Stage) -> str:
    return f"{MESSAGE_STATUS.name} IN ({', '.join(repr(stage.value) for stage in stages)})"


def _no_such_campaign(text: object) -> ApplicationError:
    return ApplicationError(str(text), type=NO_SUCH_CAMPAIGN, non_retryable=True)


@contextlib.asynccontextmanager
async def _heartbeats() -> AsyncIterator[None]:
    """Tell Temporal regularly that this worker is alive."""

    async def beat() -> None:
        while True:
            activity.heartbeat()
            await asyncio.sleep(_HEARTBEAT_SECONDS)

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()


async def _all(calls: Iterable[Awaitable[_T]]) -> list[_T]:
    """Their results; when all have ended, the first exception."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]
