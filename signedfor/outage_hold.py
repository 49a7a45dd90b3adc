"""After a database outage, nothing is sent until the inbound messages that came in it are recorded.

The webhook answers Twilio during an outage because Temporal stores the message, and a workflow
records it once the database is back. A STOP among them must be in force before the next POST.
"""

import asyncio
import logging
import threading
import time
from datetime import timedelta
from typing import Final

from sqlalchemy import Engine, event, update
from temporalio.client import Client
from temporalio.runtime import Runtime
from temporalio.service import RPCError

from signedfor.inbound import RECORD_INBOUND_WORKFLOW
from signedfor.logging import log_unexpected
from signedfor.metrics import INBOUND_WAITING
from signedfor.store.database import DatabaseUnavailable, on_unavailable, transaction
from signedfor.store.tables import watermarks

_logger = logging.getLogger("signedfor.worker")

PROBE_INTERVAL: Final = timedelta(seconds=5)
"""How often an idle worker finds out whether the database is away. A busy one knows by itself."""
SETTLING_TIME: Final = timedelta(seconds=2)
"""After its last failure the webhook hands inbound messages to Temporal for another second, and
Temporal lists a new workflow a moment later."""
MAX_HOLD: Final = timedelta(minutes=2)
"""If messages cannot be recorded for so long though the database is back, sending goes on."""
MAX_WAIT_IN_ATTEMPT: Final = timedelta(seconds=3)
"""How long an attempt waits for the end of a hold. Most holds are shorter."""
_CHECK_INTERVAL = timedelta(seconds=0.5)
_RPC_TIMEOUT = timedelta(seconds=3)
_QUERY = f"WorkflowType = '{RECORD_INBOUND_WORKFLOW}' AND ExecutionStatus = 'Running'"


class OutageHold:
    """Whether this worker's sends must wait. Begins with every outage; thread-safe.

    An outage is any transaction that fails because the database is unavailable, and any broken
    connection. It begins held: there may have been an outage before this worker started.
    """

    def __init__(self, engine: Engine) -> None:
        """Before any thread connects: SQLAlchemy's list of listeners is not thread-safe."""
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._outages = 0
        self._last_outage = float("-inf")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._began = asyncio.Event()
        on_unavailable(engine, self.begin)
        event.listen(engine, "invalidate", lambda *_: self.begin())

    @property
    def is_over(self) -> bool:
        """Whether messages may be sent."""
        return self._over.is_set()

    @property
    def outages(self) -> int:
        """How many there have been."""
        return self._outages

    @property
    def is_settled(self) -> bool:
        """Whether the last outage is long enough ago to tell what came in it."""
        return time.monotonic() - self._last_outage >= SETTLING_TIME.total_seconds()

    def wait_until_over(self) -> bool:
        """Wait a few seconds for its end, in an activity's thread; False if it is not over then."""
        return self._over.wait(MAX_WAIT_IN_ATTEMPT.total_seconds())

    def begin(self) -> None:
        """The database was away just now."""
        with self._lock:
            self._outages += 1
            self._last_outage = time.monotonic()
            self._over.clear()
        loop = self._loop
        if loop is not None:
            loop.call_soon_threadsafe(self._began.set)

    def end(self, *, outages: int) -> bool:
        """End it, unless there was another outage after these; False then."""
        with self._lock:
            if outages != self._outages:
                return False
            self._over.set()
            return True

    async def wait_until_begun(self, timeout: timedelta) -> None:  # noqa: ASYNC109 - no error
        """Wait for the next outage, or for so long."""
        self._loop = asyncio.get_running_loop()
        self._began.clear()
        if self.is_over:
            await asyncio.wait(
                [waiting := asyncio.ensure_future(self._began.wait())],
                timeout=timeout.total_seconds(),
            )
            waiting.cancel()


class InboundBacklog:
    """Ends the hold once Temporal has no inbound message left that waits to be recorded."""

    def __init__(self, client: Client, engine: Engine, hold: OutageHold) -> None:
        self._client = client
        self._engine = engine
        self._hold = hold
        self._is_logged = False
        runtime = client.service_client.config.runtime or Runtime.default()
        self._waiting = runtime.metric_meter.create_gauge(
            INBOUND_WAITING, "Inbound messages that this worker's sends wait for after an outage"
        )

    async def watch(self, *, probe_interval: timedelta = PROBE_INTERVAL) -> None:
        """Notice outages, and end the hold after each, until canceled."""
        while True:
            try:
                await self._until_recorded()
                await self._hold.wait_until_begun(probe_interval)
                await self._is_database_back()
            except Exception as error:  # noqa: BLE001 - nothing would be sent after the next outage
                log_unexpected(_logger, error)
                await asyncio.sleep(_CHECK_INTERVAL.total_seconds())

    async def _until_recorded(self) -> None:
        back_at: float | None = None
        while not self._hold.is_over:
            outages = self._hold.outages
            if not await self._is_database_back():
                back_at = None
            elif self._hold.is_settled:
                back_at = back_at or time.monotonic()
                waiting = await self._count()
                if waiting == 0:
                    self._recorded(outages)
                elif time.monotonic() - back_at > MAX_HOLD.total_seconds():
                    self._give_up(outages)
                else:
                    self._show(waiting)
            if not self._hold.is_over:
                await asyncio.sleep(_CHECK_INTERVAL.total_seconds())

    def _recorded(self, outages: int) -> None:
        if self._hold.end(outages=outages):
            self._waiting.set(0)
            if self._is_logged:
                _logger.warning("The inbound messages are recorded; messages are sent again")
            self._is_logged = False

    def _give_up(self, outages: int) -> None:
        if self._hold.end(outages=outages):
            _logger.error(
                "Inbound messages that came while the database was away are still not recorded "
                "after %d s; messages are sent again. See the workflows of type %s in the "
                "Temporal UI",
                MAX_HOLD.total_seconds(),
                RECORD_INBOUND_WORKFLOW,
            )
            self._is_logged = False

    def _show(self, waiting: int | None) -> None:
        if waiting is not None:
            self._waiting.set(waiting)
        if not self._is_logged:
            _logger.warning(
                "The database was away: nothing is sent until the inbound messages that Temporal "
                "holds are recorded (%s now)",
                "an unknown number" if waiting is None else waiting,
            )
            self._is_logged = True

    async def _is_database_back(self) -> bool:
        """Whether it can be written to; if not, that is an outage. Its thread ends before this."""
        probing = asyncio.ensure_future(asyncio.to_thread(self._probe))
        try:
            return await asyncio.shield(probing)
        except asyncio.CancelledError:
            await asyncio.wait([probing])
            raise

    def _probe(self) -> bool:
        try:
            with transaction(self._engine) as connection:
                connection.execute(
                    update(watermarks).where(watermarks.c.name == "").values(name="")
                )
        except DatabaseUnavailable:
            return False
        return True

    async def _count(self) -> int | None:
        """How many inbound messages wait in Temporal; None if it does not say."""
        try:
            counted = await self._client.count_workflows(_QUERY, rpc_timeout=_RPC_TIMEOUT)
        except RPCError:
            return None
        return counted.count
