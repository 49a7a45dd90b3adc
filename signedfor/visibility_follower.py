"""Keeps an index in the database up to date with Temporal's visibility.

Several processes may do this at once, and any may die in the middle: a row is replaced by newer
information only, and a watermark moves only after what lies before it is stored.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, Generic, TypeVar

from anyio import to_thread
from sqlalchemy import Engine, String, Table
from temporalio.client import Client, WorkflowExecution
from temporalio.service import RPCError

from signedfor.background import in_background
from signedfor.logging import RateLimitedLogger, Throttle, log_unexpected
from signedfor.store.database import DatabaseUnavailable
from signedfor.store.inbound import Watermarks
from signedfor.store.visibility_index import VisibilityIndex, VisibilityRow, read_name
from signedfor.temporal import TemporalUnavailable, describe_namespace, is_never_connected
from signedfor.workflow_calls import describe

_log = logging.getLogger(__name__)

INTERVAL: Final = timedelta(seconds=5)
"""From the end of a round to the next."""
OVERLAP: Final = timedelta(seconds=10)
"""What a round reads again: Temporal lists a workflow a moment after it has started or ended."""
_LONG_OVERLAP: Final = timedelta(minutes=5)
"""What a thorough round reads again: under load that moment is longer."""
_THOROUGH: Final = timedelta(minutes=1)
_REFRESH: Final = timedelta(seconds=30)
"""How often the workflows that run are read again."""
_PURGE: Final = timedelta(hours=1)
_PURGE_TIMEOUT: Final = timedelta(seconds=10)
_PAGE: Final = 250
"""Decoding more at a time would hold up the pages that the same process serves."""
_MAX_CHECKS: Final = 2_000
"""Workflows that a round asks Temporal about, one by one."""
_CONCURRENT_REQUESTS: Final = 8
_LONG_AGO: Final = datetime(2000, 1, 1, tzinfo=UTC)
_Item = TypeVar("_Item")
_Row = TypeVar("_Row", bound=VisibilityRow)

Notify = Callable[[int], None]
"""Takes how many workflows have been read so far."""


def is_filled(engine: Engine, *tables: Table) -> bool:
    """Whether everything that Temporal had was read once; until then an index is incomplete.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    marks = Watermarks(engine)
    return all(marks.read(_closed_name(each)) is not None for each in tables)


class VisibilityFollower(Generic[_Row]):
    """Brings an index in the database of `engine` up to date."""

    def __init__(
        self,
        temporal: Client,
        engine: Engine,
        index: VisibilityIndex[_Row],
        *,
        workflow_type: str,
        id_prefix: str,
        row_of: Callable[[str, WorkflowExecution], _Row],
    ) -> None:
        """`row_of` makes the row of a message id and its workflow."""
        self._temporal = temporal
        self._engine = engine
        self._index = index
        self._prefix = id_prefix
        self._row_of = row_of
        self._query = f"WorkflowType = '{workflow_type}'"
        self._watermarks = Watermarks(engine)
        self._started = f"{index.table.name}_started"
        self._closed = _closed_name(index.table)
        self._thorough, self._refresh = Cadence(_THOROUGH), Cadence(_REFRESH)
        self._purge = Cadence(_PURGE)
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
            await self._follow(self._started, "StartTime", overlap)
            await self._follow(self._closed, "CloseTime", overlap)
        with self._refresh.due() as is_due:
            if is_due:
                await self._check_open()

    async def rebuild(self, notify: Notify | None = None) -> None:
        """Make the index again: afterwards it has what Temporal has, and nothing else.

        It can be searched meanwhile. One that breaks off has done no harm.
        """
        before = await to_thread.run_sync(self._index.all_ids)
        listed = await self._fill(notify, overrides=True)
        await self.check(each for each in before if each not in listed)

    async def check(self, message_ids: Iterable[str]) -> None:
        """Ask Temporal about each of these; forget those that it does not have."""
        found: list[_Row] = []
        missing: list[str] = []

        async def check(message_id: str) -> None:
            handle = self._temporal.get_workflow_handle(self._prefix + message_id)
            description = await describe(handle)
            if description is None:
                missing.append(message_id)
            else:
                found.extend(self._rows([description]))

        await concurrently(check, message_ids)
        await to_thread.run_sync(self._index.put, found)
        await to_thread.run_sync(self._index.remove, missing)

    async def is_filled(self) -> bool:
        """As the function `is_filled`."""
        return await to_thread.run_sync(is_filled, self._engine, self._index.table)

    async def total(self) -> int:
        """How many there are in Temporal.

        Raises:
            RPCError: it does not say.
        """
        return (await self._temporal.count_workflows(self._query)).count

    async def _run(self) -> None:
        while True:
            begun = datetime.now(UTC)
            try:
                await self.bring_up_to_date()
                name = read_name(self._index.table)
                await to_thread.run_sync(self._watermarks.advance, name, begun)
                with self._purge.due() as is_due:
                    if is_due:
                        await self._purge_forgotten()
            except Exception as error:  # noqa: BLE001 - the next round may succeed
                self._report(error)
            await asyncio.sleep(INTERVAL.total_seconds())

    def _report(self, error: Exception) -> None:
        if isinstance(error, RPCError | DatabaseUnavailable) or is_never_connected(error):
            what = self._index.table.name.replace("_", " ")
            self._warnings.warning(
                "The %s is not brought up to date: %s", what, type(error).__name__
            )
        elif self._defects.admit(type(error)) is not None:
            log_unexpected(_log, error)

    async def _fill(self, notify: Notify | None, *, overrides: bool = False) -> dict[str, datetime]:
        """Store everything that Temporal lists; the ids, and when each was started."""
        listed: dict[str, datetime] = {}
        newest = None
        async for page in self._pages(self._query):
            rows = []
            for each in self._rows(page):
                # Temporal lists every run of a workflow that was reset, in any order.
                if each.started_at >= listed.get(each.message_id, each.started_at):
                    listed[each.message_id] = each.started_at
                    rows.append(each)
            await to_thread.run_sync(partial(self._index.put, rows, overrides=overrides))
            # Of the first page, and Temporal's own time: what happens later is read again.
            newest = newest or max(each.start_time for each in page)
            if notify is not None:
                notify(len(listed))
        for watermark in (self._started, self._closed):
            await to_thread.run_sync(self._watermarks.advance, watermark, newest or _LONG_AGO)
        return listed

    async def _follow(self, watermark: str, attribute: str, overlap: timedelta) -> None:
        """Store the workflows whose `attribute` is after the watermark, less the overlap."""
        last = await to_thread.run_sync(self._watermarks.read, watermark)
        assert last is not None  # noqa: S101 - it is filled, and watermarks stay
        newest = last
        async for page in self._pages(
            f"{self._query} AND {attribute} >= '{(last - overlap).isoformat()}'"
        ):
            await to_thread.run_sync(self._index.put, list(self._rows(page)))
            for each in page:
                at = each.start_time if watermark == self._started else each.close_time
                newest = max(newest, at or newest)
        if newest != last:
            await to_thread.run_sync(self._watermarks.advance, watermark, newest)

    async def _check_open(self) -> None:
        """Read again those that run: what has changed, and the ends that were not listed."""
        open_ids = await to_thread.run_sync(self._index.open_ids)
        running = set()
        async for page in self._pages(f"{self._query} AND ExecutionStatus = 'Running'"):
            rows = list(self._rows(page))
            await to_thread.run_sync(self._index.put, rows)
            running |= {each.message_id for each in rows}
        missing = [each for each in open_ids if each not in running]
        await self.check(missing[:_MAX_CHECKS])

    async def _purge_forgotten(self) -> None:
        """Forget those whose retention period in Temporal is over."""
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

    def _rows(self, executions: Iterable[WorkflowExecution]) -> Iterator[_Row]:
        """The rows of these workflows, without those that are not ours.

        Anybody can start a workflow of this type, with any id and attributes: what the database
        cannot store is left out.
        """
        for each in executions:
            message_id = storable(
                each.id.removeprefix(self._prefix), self._index.table, "message_id"
            )
            if message_id and each.id.startswith(self._prefix):
                yield self._row_of(message_id, each)


class Cadence:
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


async def concurrently(do: Callable[[_Item], Awaitable[None]], items: Iterable[_Item]) -> None:
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


def storable(text: str | None, table: Table, column: str) -> str | None:
    """The text, if the column can hold it."""
    kind = table.c[column].type
    assert isinstance(kind, String)  # noqa: S101 - for the type
    fits = text is not None and "\0" not in text and len(text) <= (kind.length or 0)
    return text if fits else None


def storable_code(code: int | None) -> int | None:
    """The code, if an integer column can hold it."""
    return code if code is not None and 0 <= code < 2**31 else None


def _closed_name(table: Table) -> str:
    return f"{table.name}_closed"
