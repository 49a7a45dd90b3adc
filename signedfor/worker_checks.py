"""Whether a worker may serve: by its clock, and by what has become of its database."""

import asyncio
import contextlib
import logging
import time
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import Any, Final

from sqlalchemy import Engine, event
from temporalio.client import Client
from temporalio.runtime import Runtime

from signedfor.metrics import CLOCK_OFFSET
from signedfor.store.database import DatabaseUnavailable
from signedfor.store.inbound import OlderDatabase, Watermarks
from signedfor.store.migrate import SchemaMismatch, require_usable
from signedfor.temporal import TemporalUnavailable, clock_offset

_logger = logging.getLogger("signedfor.worker")

CHECK_INTERVAL: Final = timedelta(seconds=30)
"""A wrong clock is noticed by each attempt too, an older database only here: messages may be sent
for this long after the restore to people whose opt-out it has forgotten. A check takes two short
transactions and two requests to Temporal.
"""
IN_USE: Final = "database-in-use"
"""The watermark that workers advance at each check, so that an older copy can be told by it."""


class Obstacle(Enum):
    """Why a worker must stop serving."""

    CLOCK = auto()
    """Its clock differs from Temporal's."""
    OLDER_DATABASE = auto()
    """The database was restored from an older copy, which lacks the newest opt-outs."""
    INCOMPATIBLE_SCHEMA = auto()
    """The database has migrations that this version cannot go on with, or lacks some."""


class WorkerChecks:
    """Compares this worker's clock with Temporal's, and the database with what it was before."""

    def __init__(
        self, client: Client, engine: Engine, *, interval: timedelta = CHECK_INTERVAL
    ) -> None:
        self._client = client
        self._engine = engine
        self._watermarks = Watermarks(engine)
        self._interval = interval.total_seconds()
        self._is_clock_right = True
        self._is_clock_known = True
        self._in_use_at: datetime | None = None
        """The newest watermark that this worker has seen."""
        self._connected = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        # Here, before any thread connects: SQLAlchemy's list of listeners is not thread-safe.
        event.listen(engine, "connect", self._on_connect)
        runtime = client.service_client.config.runtime or Runtime.default()
        self._offset = runtime.metric_meter.create_gauge_float(
            CLOCK_OFFSET, "How far this worker's clock differs from Temporal's", "s"
        )

    async def until_clock_is_right(self) -> None:
        """Return at once if it is; in doubt too: each attempt compares the clock as well."""
        while True:
            if await self._check_clock():
                return
            await asyncio.sleep(self._interval)

    async def until_obstacle(self) -> Obstacle:
        """Check regularly, and the database at each new connection too; return at an obstacle."""
        self._loop = asyncio.get_running_loop()
        try:
            return await self._until_obstacle()
        finally:
            self._loop = None

    async def _until_obstacle(self) -> Obstacle:
        check_clock_at = time.monotonic() + self._interval
        while True:
            self._connected.clear()
            obstacle = await self._check_database()
            if obstacle is not None:
                self._in_use_at = None
                return obstacle
            if time.monotonic() >= check_clock_at:
                if not await self._check_clock():
                    return Obstacle.CLOCK
                check_clock_at = time.monotonic() + self._interval
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, check_clock_at - time.monotonic())):
                    await self._connected.wait()

    async def _check_database(self) -> Obstacle | None:
        """What is wrong with it; the thread with its connection ends before this does."""
        checking = asyncio.ensure_future(asyncio.to_thread(self._database_obstacle))
        try:
            return await asyncio.shield(checking)
        except asyncio.CancelledError:
            await asyncio.wait([checking])
            raise

    def _database_obstacle(self) -> Obstacle | None:
        try:
            require_usable(self._engine)
        except SchemaMismatch as error:
            _logger.error("%s", error)  # noqa: TRY400 - a sentence for people
            return Obstacle.INCOMPATIBLE_SCHEMA
        except DatabaseUnavailable:
            return None  # nothing is sent without it
        return Obstacle.OLDER_DATABASE if self._is_database_older() else None

    async def _check_clock(self) -> bool:
        """Compare the clock; if that is impossible, what was known of it still holds."""
        try:
            offset = await clock_offset(self._client)
        except TemporalUnavailable as error:
            if self._is_clock_known:
                _logger.warning("This worker's clock could not be compared: %s", error)
            self._is_clock_known = False
            return self._is_clock_right
        self._is_clock_known = True
        self._offset.set(abs(offset.seconds))  # the SDK's metrics cannot be negative
        if offset.is_tolerable is not self._is_clock_right:
            self._is_clock_right = offset.is_tolerable
            if self._is_clock_right:
                _logger.warning("This worker's clock is right again: it sends messages")
            else:
                _logger.error(
                    "This worker's clock is %s: it sends nothing until it is right",
                    offset,
                )
        return self._is_clock_right

    def _is_database_older(self) -> bool:
        """Whether the database has forgotten what this worker has seen in it."""
        last = self._in_use_at
        try:
            self._in_use_at = self._watermarks.advance_from(last, IN_USE, datetime.now(UTC))
        except OlderDatabase as older:
            _logger.warning(
                "The database is an older copy: it was in use at %s, and says %s. Inbound messages "
                "since then are recorded before anything is sent",
                _clock(last),
                _clock(older.at),
            )
            return True
        except DatabaseUnavailable:
            pass  # nothing is sent without it
        return False

    def _on_connect(self, *_: Any) -> None:
        """Wake the check, in whatever thread the pool connects: perhaps to a restored database."""
        loop = self._loop
        if loop is not None:
            loop.call_soon_threadsafe(self._connected.set)


def _clock(at: datetime | None) -> str:
    return "never" if at is None else f"{at:%Y-%m-%d %H:%M:%S} UTC"
