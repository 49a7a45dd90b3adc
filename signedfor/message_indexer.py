"""Keeps the message index: reads from Temporal which messages there are, and their state.

Everything may be read twice, and by several processes at once: a row is replaced by newer
information only, and a watermark moves only after what lies before it is stored.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, TypeVar

from anyio import to_thread
from sqlalchemy import Engine, String
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus
from temporalio.service import RPCError

from signedfor import client as signedfor_client
from signedfor.background import in_background
from signedfor.contract import SEND_MESSAGE, Outcome, Stage, message_workflow_id
from signedfor.logging import RateLimitedLogger, Throttle, log_unexpected
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
from signedfor.store.tables import message_index
from signedfor.temporal import TemporalUnavailable, describe_namespace, is_never_connected
from signedfor.workflow_calls import describe, is_workflow_missing

_log = logging.getLogger(__name__)

INTERVAL: Final = timedelta(seconds=5)
"""From the end of a round to the next."""
OVERLAP: Final = timedelta(seconds=10)
"""What a round reads again: Temporal lists a message a moment after it has started or ended."""
_LONG_OVERLAP: Final = timedelta(minutes=5)
"""What a thorough round reads again: under load that moment is longer."""
_THOROUGH: Final = timedelta(minutes=1)
_REFRESH: Final = timedelta(seconds=30)
"""How often the messages that run are read again."""
_PURGE: Final = timedelta(hours=1)
_PURGE_TIMEOUT: Final = timedelta(seconds=10)
_PAGE: Final = 250
"""Decoding more at a time would hold up the pages that the same process serves."""
_MAX_CHECKS: Final = 2_000
"""Messages that a round asks Temporal about, one by one."""
_MAX_REQUESTS: Final = 200
"""Histories that are read at a time, for recipients that no record knows."""
_MAX_REQUEST_TIME: Final = timedelta(seconds=2)
"""How long a round goes on reading more of them."""
_CONCURRENT_REQUESTS: Final = 8
_STARTED: Final = "message_index_started"
_CLOSED: Final = "message_index_closed"
_QUERY: Final = f"WorkflowType = '{SEND_MESSAGE}'"
_PREFIX: Final = message_workflow_id("")
_LONG_AGO: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MAX_INTEGER: Final = 2**31 - 1
_LENGTHS: Final = {
    each.name: each.type.length
    for each in message_index.c
    if isinstance(each.type, String) and each.type.length
}
_Item = TypeVar("_Item")

Notify = Callable[[int], None]
"""Takes how many messages have been read so far."""


def is_filled(engine: Engine) -> bool:
    """Whether everything that Temporal had was read once; until then the index is incomplete.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    return Watermarks(engine).read(_CLOSED) is not None


class MessageIndexer:
    """Brings the index in the database of `engine` up to date with Temporal."""

    def __init__(self, temporal: Client, engine: Engine) -> None:
        self._temporal = temporal
        self._engine = engine
        self._messages = signedfor_client.Client(temporal)
        self._index = MessageIndex(engine)
        self._people = People(engine)
        self._watermarks = Watermarks(engine)
        self._thorough, self._refresh = _Cadence(_THOROUGH), _Cadence(_REFRESH)
        self._purge = _Cadence(_PURGE)
        self._warnings, self._defects = RateLimitedLogger(_log), Throttle()

    def running(self) -> AbstractAsyncContextManager[None]:
        """Keep the index up to date while the context is open."""
        return in_background(self._run())

    async def bring_up_to_date(self, notify: Notify | None = None) -> None:
        """Read what has changed since the last round; the first one reads everything.

        Raises:
            RPCError: Temporal did not answer.
            DatabaseUnavailable: nothing was stored.
        """
        if not await self.is_filled():
            await self._fill(notify)
        overlap = OVERLAP
        with self._thorough.due() as is_due:
            if is_due:
                overlap = _LONG_OVERLAP
            await self._follow(_STARTED, "StartTime", overlap)
            await self._follow(_CLOSED, "CloseTime", overlap)
        with self._refresh.due() as is_due:
            if is_due:
                await self._check_open()
        until = asyncio.get_running_loop().time() + _MAX_REQUEST_TIME.total_seconds()
        while await self._find_people() and asyncio.get_running_loop().time() < until:
            pass

    async def rebuild(self, notify: Notify | None = None) -> None:
        """Make the index again: afterwards it has what Temporal has, and nothing else.

        It can be searched meanwhile. One that breaks off has done no harm.
        """
        before = await to_thread.run_sync(self._index.all_ids)
        listed = await self._fill(notify, overrides=True)
        await self._check(each for each in before if each not in listed)
        while await self._find_people():
            pass

    async def is_filled(self) -> bool:
        """As the function `is_filled`."""
        return await to_thread.run_sync(is_filled, self._engine)

    async def total(self) -> int:
        """How many messages Temporal has.

        Raises:
            RPCError: it does not say.
        """
        return (await self._temporal.count_workflows(_QUERY)).count

    async def _run(self) -> None:
        while True:
            try:
                await self.bring_up_to_date()
                with self._purge.due() as is_due:
                    if is_due:
                        await self._purge_forgotten()
            except Exception as error:  # noqa: BLE001 - the next round may succeed
                self._report(error)
            await asyncio.sleep(INTERVAL.total_seconds())

    def _report(self, error: Exception) -> None:
        if isinstance(error, RPCError | DatabaseUnavailable) or is_never_connected(error):
            self._warnings.warning(
                "The message index is not brought up to date: %s", type(error).__name__
            )
        elif self._defects.admit(type(error)) is not None:
            log_unexpected(_log, error)

    async def _fill(self, notify: Notify | None, *, overrides: bool = False) -> dict[str, datetime]:
        """Store everything that Temporal lists; the ids, and when each was started."""
        listed: dict[str, datetime] = {}
        newest = None
        async for page in self._pages(_QUERY):
            rows = []
            for each in _indexed(page):
                # Temporal lists every run of a message that was reset, in any order.
                if each.started_at >= listed.get(each.message_id, each.started_at):
                    listed[each.message_id] = each.started_at
                    rows.append(each)
            await to_thread.run_sync(partial(self._index.put, rows, overrides=overrides))
            # Of the first page, and Temporal's own time: what happens later is read again.
            newest = newest or max(each.start_time for each in page)
            if notify is not None:
                notify(len(listed))
        for watermark in (_STARTED, _CLOSED):
            await to_thread.run_sync(self._watermarks.advance, watermark, newest or _LONG_AGO)
        return listed

    async def _follow(self, watermark: str, attribute: str, overlap: timedelta) -> None:
        """Store the messages whose `attribute` is after the watermark, less the overlap."""
        last = await to_thread.run_sync(self._watermarks.read, watermark)
        assert last is not None  # noqa: S101 - it is filled, and watermarks stay
        newest = last
        async for page in self._pages(
            f"{_QUERY} AND {attribute} >= '{(last - overlap).isoformat()}'"
        ):
            await to_thread.run_sync(self._index.put, list(_indexed(page)))
            for each in page:
                at = each.start_time if watermark == _STARTED else each.close_time
                newest = max(newest, at or newest)
        if newest != last:
            await to_thread.run_sync(self._watermarks.advance, watermark, newest)

    async def _check_open(self) -> None:
        """Read again the messages that run: their stages, and the ends that were not listed."""
        open_ids = await to_thread.run_sync(self._index.open_ids)
        running = set()
        async for page in self._pages(f"{_QUERY} AND ExecutionStatus = 'Running'"):
            rows = list(_indexed(page))
            await to_thread.run_sync(self._index.put, rows)
            running |= {each.message_id for each in rows}
        missing = [each for each in open_ids if each not in running]
        await self._check(missing[:_MAX_CHECKS])

    async def _check(self, message_ids: Iterable[str]) -> None:
        """Ask Temporal about each of these; forget those that it does not have."""
        found: list[IndexedMessage] = []
        missing: list[str] = []

        async def check(message_id: str) -> None:
            workflow_id = message_workflow_id(message_id)
            description = await describe(self._temporal.get_workflow_handle(workflow_id))
            if description is None:
                missing.append(message_id)
            else:
                found.extend(_indexed([description]))

        await _concurrently(check, message_ids)
        await to_thread.run_sync(self._index.put, found)
        await to_thread.run_sync(self._index.remove, missing)

    async def _find_people(self) -> int:
        """Find out who the recipients are who are not known yet; how many there were."""
        unknown = await to_thread.run_sync(self._index.without_person, _MAX_REQUESTS)
        people = await to_thread.run_sync(self._index.recorded_people, unknown)
        recipients = await to_thread.run_sync(self._index.held_back, unknown)

        async def read(message_id: str) -> None:
            try:
                request = await self._messages.request_of(self._messages.message(message_id))
            except RPCError as error:
                # Anything but the end of its retention period is tried again in the next round.
                if is_workflow_missing(error):
                    recipients[message_id] = ""
            else:
                recipients[message_id] = "" if request is None else request.to

        await _concurrently(read, set(unknown) - people.keys() - recipients.keys())
        people |= {
            message_id: self._people.reference(to) if to else ""
            for message_id, to in recipients.items()
        }
        await to_thread.run_sync(self._index.set_people, people)
        return len(people)

    async def _purge_forgotten(self) -> None:
        """Forget the messages whose retention period in Temporal is over."""
        with suppress(TemporalUnavailable):  # the next time
            namespace = await describe_namespace(self._temporal, timeout=_PURGE_TIMEOUT)
            retention = namespace.config.workflow_execution_retention_ttl.ToTimedelta()
            if retention:
                before = datetime.now(UTC) - retention
                await to_thread.run_sync(partial(self._index.purge, before=before))

    async def _pages(self, query: str) -> AsyncIterator[Sequence[WorkflowExecution]]:
        found = self._temporal.list_workflows(query, page_size=_PAGE)
        while True:
            await found.fetch_next_page()
            if found.current_page:
                yield found.current_page
            if not found.next_page_token:
                return


class _Cadence:
    """How often something that may take long is done: for a tenth of the time at most."""

    def __init__(self, interval: timedelta) -> None:
        self._interval = interval.total_seconds()
        self._next = float("-inf")

    @contextmanager
    def due(self) -> Iterator[bool]:
        """Yield whether it is due; if it fails, it is still due the next time."""
        now = asyncio.get_running_loop().time
        begun = now()
        is_due = begun >= self._next
        yield is_due
        if is_due:
            self._next = now() + max(self._interval, 10 * (now() - begun))


async def _concurrently(do: Callable[[_Item], Awaitable[None]], items: Iterable[_Item]) -> None:
    """Do it for each of them, several at a time. The first exception ends it."""
    left = iter(items)

    async def work() -> None:
        for each in left:
            await do(each)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(_CONCURRENT_REQUESTS):
                group.create_task(work())
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None


def _indexed(executions: Iterable[WorkflowExecution]) -> Iterator[IndexedMessage]:
    """The rows of these workflows, without those that are not ours.

    Anybody can start a workflow of this type, with any id and attributes: what the database cannot
    store is left out.
    """
    for each in executions:
        message_id = _storable(each.id.removeprefix(_PREFIX), "message_id")
        if not message_id or not each.id.startswith(_PREFIX):
            continue
        attributes = each.typed_search_attributes
        code = attributes.get(TWILIO_ERROR_CODE)
        yield IndexedMessage(
            message_id=message_id,
            run_id=each.run_id,
            started_at=each.start_time,
            closed_at=each.close_time,
            status=_status(each),
            sender=_storable(attributes.get(MESSAGE_SENDER), "sender"),
            tenant=_storable(attributes.get(TENANT), "tenant"),
            campaign_id=_storable(attributes.get(CAMPAIGN_ID), "campaign_id"),
            message_sid=_storable(attributes.get(TWILIO_SID), "message_sid"),
            error_code=code if code is not None and 0 <= code <= _MAX_INTEGER else None,
        )


def _storable(text: str | None, column: str) -> str | None:
    return text if text is not None and "\0" not in text and len(text) <= _LENGTHS[column] else None


def _status(execution: WorkflowExecution) -> str:
    status = _storable(execution.typed_search_attributes.get(MESSAGE_STATUS), "status")
    match execution.status:
        case WorkflowExecutionStatus.RUNNING | WorkflowExecutionStatus.COMPLETED:
            return status or Stage.SENDING
        case _:
            return Outcome.FAILED  # it ended without a report
