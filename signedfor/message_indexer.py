"""Keeps the message index: reads from Temporal which messages there are, and their state.

Everything may be read twice: a row is replaced by newer information only. A process that ends in
the middle loses nothing, because a watermark moves only after what lies before it is stored.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Final

from anyio import to_thread
from sqlalchemy import Engine
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from signedfor import client as signedfor_client
from signedfor.contract import SEND_MESSAGE, Outcome, Stage, message_id_of
from signedfor.search_attributes import (
    CAMPAIGN_ID,
    MESSAGE_SENDER,
    MESSAGE_STATUS,
    TENANT,
    TWILIO_ERROR_CODE,
    TWILIO_SID,
)
from signedfor.store.database import DatabaseUnavailable
from signedfor.store.inbound import Watermarks
from signedfor.store.message_index import IndexedMessage, MessageIndex
from signedfor.store.people import People

_log = logging.getLogger(__name__)

INTERVAL: Final = timedelta(seconds=5)
"""From the end of a round to the next."""
_OVERLAP: Final = timedelta(minutes=2)
"""How late Temporal may list a message that has started or ended."""
_REFRESH: Final = timedelta(seconds=30)
"""How often the stages of the messages that run are read again."""
_PAGE: Final = 1000
_MAX_REQUESTS: Final = 200
"""Histories that are read in a round, for recipients that no record knows."""
_CONCURRENT_REQUESTS: Final = 8
_STARTED: Final = "message_index_started"
_CLOSED: Final = "message_index_closed"
_QUERY: Final = f"WorkflowType = '{SEND_MESSAGE}'"


class MessageIndexer:
    """Brings the index in the database of `engine` up to date with Temporal."""

    def __init__(self, temporal: Client, engine: Engine) -> None:
        self._temporal = temporal
        self._messages = signedfor_client.Client(temporal)
        self._index = MessageIndex(engine)
        self._people = People(engine)
        self._watermarks = Watermarks(engine)
        self._next_refresh = float("-inf")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the index up to date in the background."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def bring_up_to_date(self) -> None:
        """Read what has changed since the last round.

        Raises:
            RPCError: Temporal did not answer.
            DatabaseUnavailable: nothing was stored.
        """
        await self._follow(_STARTED, "StartTime")
        await self._follow(_CLOSED, "CloseTime")
        await self._refresh_open()
        await self._find_people()

    async def rebuild(self) -> None:
        """Make the index again, from nothing."""
        await to_thread.run_sync(lambda: self._index.clear(_STARTED, _CLOSED))
        await self.bring_up_to_date()
        while await self._find_people():
            pass

    async def _run(self) -> None:
        while True:
            try:
                await self.bring_up_to_date()
            # RuntimeError: a lazy client has not reached Temporal yet.
            except (RPCError, RuntimeError, DatabaseUnavailable) as error:
                _log.warning(
                    "The message index is not brought up to date: %s", type(error).__name__
                )
            await asyncio.sleep(INTERVAL.total_seconds())

    async def _follow(self, watermark: str, attribute: str) -> None:
        """Store the messages whose `attribute` is after the watermark, less the overlap."""
        last = await to_thread.run_sync(self._watermarks.read, watermark)
        query, newest = _QUERY, last
        if last is not None:
            query += f" AND {attribute} >= '{(last - _OVERLAP).isoformat()}'"
        elif watermark == _CLOSED:
            return await self._begin_with(watermark)  # the first round lists them by start
        async for page in self._pages(query):
            await to_thread.run_sync(self._index.put, [_indexed(each) for each in page])
            times = [each.start_time for each in page]
            if watermark == _CLOSED:
                times = [each.close_time for each in page if each.close_time is not None]
            newest = max([*times, *([newest] if newest else [])], default=None)
        # Temporal's own time: it does not depend on this machine's clock.
        if newest is not None and newest != last:
            await to_thread.run_sync(self._watermarks.advance, watermark, newest)
        return None

    async def _begin_with(self, watermark: str) -> None:
        """What was closed until the messages were listed by start is stored already."""
        started = await to_thread.run_sync(self._watermarks.read, _STARTED)
        if started is not None:
            await to_thread.run_sync(self._watermarks.advance, watermark, started)

    async def _refresh_open(self) -> None:
        """Read again the stages of the messages that run."""
        now = asyncio.get_running_loop().time
        begin = now()
        if begin < self._next_refresh:
            return
        async for page in self._pages(f"{_QUERY} AND ExecutionStatus = 'Running'"):
            await to_thread.run_sync(self._index.put, [_indexed(each) for each in page])
        # With very many of them, this takes a tenth of the time at most.
        self._next_refresh = now() + max(_REFRESH.total_seconds(), 10 * (now() - begin))

    async def _find_people(self) -> int:
        """Find out who the recipients are of whom no record knows; how many there were."""
        unknown = await to_thread.run_sync(self._index.without_person, _MAX_REQUESTS)
        recipients = await to_thread.run_sync(self._index.held_back, unknown)
        limit = asyncio.Semaphore(_CONCURRENT_REQUESTS)

        async def read(message_id: str) -> None:
            async with limit:
                try:
                    request = await self._messages.request_of(self._messages.message(message_id))
                except RPCError as error:
                    # Its retention period is over; anything else is tried again in the next round.
                    if error.status is RPCStatusCode.NOT_FOUND:
                        recipients[message_id] = ""
                else:
                    recipients[message_id] = "" if request is None else request.to

        async with asyncio.TaskGroup() as group:
            for message_id in unknown:
                if message_id not in recipients:
                    group.create_task(read(message_id))
        people = {
            message_id: self._people.reference(to) if to else ""
            for message_id, to in recipients.items()
        }
        await to_thread.run_sync(self._index.set_people, people)
        return len(people)

    async def _pages(self, query: str) -> AsyncIterator[Sequence[WorkflowExecution]]:
        found = self._temporal.list_workflows(query, page_size=_PAGE)
        while True:
            await found.fetch_next_page()
            if found.current_page:
                yield found.current_page
            if not found.next_page_token:
                return


def _indexed(execution: WorkflowExecution) -> IndexedMessage:
    attributes = execution.typed_search_attributes
    return IndexedMessage(
        message_id=message_id_of(execution.id),
        run_id=execution.run_id,
        started_at=execution.start_time,
        closed_at=execution.close_time,
        status=_status(execution),
        sender=attributes.get(MESSAGE_SENDER),
        tenant=attributes.get(TENANT),
        campaign_id=attributes.get(CAMPAIGN_ID),
        message_sid=attributes.get(TWILIO_SID),
        error_code=attributes.get(TWILIO_ERROR_CODE),
    )


def _status(execution: WorkflowExecution) -> str:
    status: str | None = execution.typed_search_attributes.get(MESSAGE_STATUS)
    match execution.status:
        case WorkflowExecutionStatus.RUNNING | WorkflowExecutionStatus.COMPLETED:
            return status or Stage.SENDING
        case _:
            return Outcome.FAILED  # it ended without a report
