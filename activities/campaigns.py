"""Feeding a campaign to Temporal: as many rows as its sender has use for, each started once."""

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

from activities.feed import PAGE, Room, room
from activities.threads import in_thread
from signedfor.campaign_steps import (
    COUNT_MESSAGES,
    COUNT_OUTCOMES,
    HAND_OVER,
    NO_SUCH_CAMPAIGN,
    OPEN_CAMPAIGN,
    SET_CAMPAIGN_STATE,
    CampaignKey,
    CampaignStanding,
    CountRequest,
    HandOver,
    MessageCounts,
    OutcomeCounts,
    StateChange,
    messages_of,
)
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

AT_A_TIME: Final = 20
"""Messages started at once."""
_RPC_TIMEOUT = timedelta(seconds=10)
_BEAT_SECONDS = 2
_INTERRUPTED = timedelta(seconds=1)
"""A decision is being carried out, of which the workflow is about to hear; or another attempt,
taken for lost, came further meanwhile."""

_T = TypeVar("_T")


class Pace(Protocol):
    """What is asked of a sender's pace."""

    def ahead(self, sender: str) -> timedelta:
        """How much of the sender's time is given away beyond now."""

    def rate(self, sender: str) -> float:
        """The sender's segments a second."""


class CampaignFeed:
    """Hands rows over, keeps the campaign's state, and counts what became of its messages."""

    def __init__(
        self, campaigns: Campaigns, pace: Pace, temporal: Client, *, page: int = PAGE
    ) -> None:
        self._campaigns = campaigns
        self._pace = pace
        self._temporal = temporal
        self._client = SignedforClient(temporal)
        self._page = page

    @in_thread(OPEN_CAMPAIGN)
    def open_campaign(self, key: CampaignKey) -> CampaignStanding:
        """How it stands, once its rows are loaded.

        Raises:
            ApplicationError: there is none (for good), or its rows are still being loaded.
            DatabaseUnavailable: the database cannot be read.
        """
        record = self._known(key.campaign_id)
        if record.state is CampaignState.LOADING:
            raise ApplicationError(
                f"The rows of campaign {key.campaign_id} are not loaded yet. "
                "Run `campaign start` with the same file again.",
                type="CampaignLoading",
            )
        return _standing(record)

    @in_thread(SET_CAMPAIGN_STATE)
    def set_campaign_state(self, change: StateChange) -> CampaignStanding:
        """Write the state; from then on the last check of every message heeds it.

        Raises:
            ApplicationError: there is no such campaign any more.
            DatabaseUnavailable: the database cannot be written.
        """
        try:
            self._campaigns.set_state(change.campaign_id, change.state, since=change.since)
        except NoSuchCampaign as error:
            raise _no_such_campaign(error) from None
        return _standing(self._known(change.campaign_id))

    @activity.defn(name=HAND_OVER)
    async def hand_over(self, key: CampaignKey) -> HandOver:
        """Start the messages of the next rows, in order. One that is there already is left alone.

        Which rows are next the database says; how far it came is noted there as it goes, so that
        whoever comes after it, whenever that is, goes on from there.

        Raises:
            ApplicationError: `NotHandedOver`, retryable; what was started stays so.
            DatabaseUnavailable: the database cannot be read or written.
        """
        record = await asyncio.to_thread(self._known, key.campaign_id)
        come_again = _INTERRUPTED
        if record.state is CampaignState.RUNNING:
            async with _heartbeats():
                record, come_again = await self._hand_over(record)
        return HandOver(standing=_standing(record), come_again=come_again)

    async def _hand_over(self, record: CampaignRecord) -> tuple[CampaignRecord, timedelta]:
        """Start the next rows' messages; how the campaign then stands, and when to come again."""
        room = await self._room(record)
        page = await asyncio.to_thread(
            self._campaigns.page, record.campaign_id, after=record.last_row, limit=room.rows
        )
        if room.rows and not page:
            return await self._note(record, [], last_row=record.rows), timedelta(0)
        rows = page[: room.first(row.segments for row in page)]
        for begin in range(0, len(rows), AT_A_TIME):
            part = rows[begin : begin + AT_A_TIME]
            started = await _all(self._start(record, row) for row in part)
            last_row = part[-1].number
            record = await self._note(record, started, last_row=last_row)
            if record.state is not CampaignState.RUNNING or record.last_row != last_row:
                return record, _INTERRUPTED
        draw = random.random()  # noqa: S311 - jitter, not a secret
        segments = sum(row.segments for row in rows)
        return record, room.come_again(len(rows), segments, draw=draw)

    async def _note(
        self, record: CampaignRecord, started: Sequence[bool], *, last_row: int
    ) -> CampaignRecord:
        """Note what became of the rows up to this one; how the campaign then stands."""
        passed = last_row - record.last_row
        if missing := passed - len(started):
            _logger.warning(
                "%d rows of campaign %s, before or at row %d, are left out: they are not in the "
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

    @activity.defn(name=COUNT_MESSAGES)
    async def count_messages(self, request: CountRequest) -> MessageCounts:
        """How many of its messages run and have ended.

        Where the list knows of none that runs, the last row's message is asked for itself: the
        list may lag behind for minutes, and this answer does not.
        """
        running, ended = await _all(
            self._count(request.campaign_id, f"ExecutionStatus{sign}'Running'")
            for sign in ("=", "!=")
        )
        if running == 0 and await self._runs(request.campaign_id, request.last_row):
            running = 1
        return MessageCounts(running=running, ended=ended)

    @activity.defn(name=COUNT_OUTCOMES)
    async def count_outcomes(self, key: CampaignKey) -> OutcomeCounts:
        """How its messages ended; outcomes that did not occur are left out."""
        counts = await _all(
            self._count(key.campaign_id, f"{MESSAGE_STATUS.name}='{each.value}'")
            for each in Outcome
        )
        found = zip(Outcome, counts, strict=True)
        return OutcomeCounts(outcomes={outcome: count for outcome, count in found if count})

    def _known(self, campaign_id: str) -> CampaignRecord:
        record = self._campaigns.find(campaign_id)
        if record is None:
            raise _no_such_campaign(
                f"There is no campaign {campaign_id} in the database that this worker uses."
            )
        return record

    async def _room(self, record: CampaignRecord) -> Room:
        sender = record.message.sender
        unseen, waiting = await _all(
            self._count(record.campaign_id, f"ExecutionStatus='Running' AND {_stands_at(*stages)}")
            for stages in ((Stage.SENDING,), (Stage.WAITING, Stage.SCHEDULED, Stage.RETRYING))
        )
        return room(
            ahead=await asyncio.to_thread(self._pace.backlog, sender),
            rate=await asyncio.to_thread(self._pace.rate, sender),
            segments_a_row=max(record.segments / max(record.rows, 1), 1),
            unseen=unseen,
            waiting=waiting,
            page=self._page,
        )

    async def _start(self, record: CampaignRecord, row: CampaignRow) -> bool:
        """Start the row's message; False if none can be made of it."""
        try:
            request = _message(record, row)
        except ValueError as error:  # pydantic's too
            # The file was checked when it was read: this is a defect, of which the rest is free.
            _logger.warning(
                "Row %d of campaign %s is left out: no message can be made of it (%s)",
                row.number,
                record.campaign_id,
                type(error).__name__,
            )
            return False
        message_id = campaign_message_id(record.campaign_id, row.number)
        try:
            await self._client.send(request, message_id=message_id)
        except (RPCError, TimeoutError) as error:
            raise ApplicationError(
                f"Row {row.number} could not be handed over ({type(error).__name__}).",
                type="NotHandedOver",
            ) from None
        return True

    async def _runs(self, campaign_id: str, row: int) -> bool:
        """Whether the row's message runs."""
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


def _standing(record: CampaignRecord) -> CampaignStanding:
    return CampaignStanding(
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


def _stands_at(*stages: Stage) -> str:
    return f"{MESSAGE_STATUS.name} IN ({', '.join(repr(stage.value) for stage in stages)})"


def _no_such_campaign(text: object) -> ApplicationError:
    return ApplicationError(str(text), type=NO_SUCH_CAMPAIGN, non_retryable=True)


@contextlib.asynccontextmanager
async def _heartbeats() -> AsyncIterator[None]:
    """Tell Temporal now and then that this worker lives."""

    async def beat() -> None:
        while True:
            activity.heartbeat()
            await asyncio.sleep(_BEAT_SECONDS)

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
