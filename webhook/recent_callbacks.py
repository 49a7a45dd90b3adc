"""Recent callbacks that were not signaled, and their replay to messages with an unknown outcome.

A callback such as `sent` cannot change an outcome, and a signal for each would cost history and
money. But it contains our message id and Twilio's SID. If the response to the create call was lost,
nothing else does, and without it the message would be sent twice.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Final, assert_never

from temporalio.client import Client
from temporalio.service import RPCError

from signedfor.background import in_background
from signedfor.contract import SEND_MESSAGE, DeliveryStatus, Stage, message_workflow_id
from signedfor.logging import RateLimitedLogger, log_unexpected
from signedfor.search_attributes import MESSAGE_STATUS
from webhook.metrics import Metrics
from webhook.temporal import Rejected, Signaled, StatusSignals, Unavailable

_log = logging.getLogger(__name__)

POLL_SECONDS: Final = 5.0
"""Between two queries for messages with an unknown outcome, which usually last a minute."""
RETENTION_SECONDS: Final = 300.0
MAX_CALLBACKS: Final = 100_000
"""About a kilobyte each."""
_CONCURRENCY = 20
_PAGE_SIZE = 1000
UNKNOWN_OUTCOME = (
    f"WorkflowType = '{SEND_MESSAGE}' AND ExecutionStatus = 'Running' "
    f"AND {MESSAGE_STATUS.name} = '{Stage.RESOLVING}'"
)

_Callback = tuple[str, DeliveryStatus]


class RecentCallbacks:
    """The last callback for each Twilio SID, bounded by age and by number."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # By workflow id and SID, in order of arrival, with the time of arrival.
        self._callbacks: dict[tuple[str, str], tuple[float, _Callback]] = {}

    def __len__(self) -> int:
        self._evict()
        return len(self._callbacks)

    def add(self, message_id: str, status: DeliveryStatus) -> None:
        """Add a callback; it replaces the one before with the same SID."""
        key = (message_workflow_id(message_id), status.message_sid)
        self._callbacks.pop(key, None)
        self._callbacks[key] = (self._clock(), (message_id, status))
        self._evict()

    def remove(self, message_id: str, status: DeliveryStatus) -> None:
        """Remove the callback with this SID, which the workflow now knows from another signal."""
        self._callbacks.pop((message_workflow_id(message_id), status.message_sid), None)

    def of(self, workflow_ids: set[str]) -> list[_Callback]:
        """The callbacks for the messages with these workflow ids."""
        if not workflow_ids:
            return []
        return [
            callback for (id_, _), (_, callback) in self._callbacks.items() if id_ in workflow_ids
        ]

    def _evict(self) -> None:
        expired_at = self._clock() - RETENTION_SECONDS
        while self._callbacks:
            oldest = next(iter(self._callbacks))
            if len(self._callbacks) <= MAX_CALLBACKS and self._callbacks[oldest][0] > expired_at:
                return
            del self._callbacks[oldest]


class CallbackReplayer:
    """Polls Temporal for messages with an unknown outcome, and signals their recent callbacks."""

    def __init__(
        self,
        *,
        recent: RecentCallbacks,
        client: Client,
        signals: StatusSignals,
        timeout: timedelta,
        metrics: Metrics,
    ) -> None:
        self._recent = recent
        self._client = client
        self._signals = signals
        self._timeout = timeout
        self._metrics = metrics
        self._warnings = RateLimitedLogger(_log)
        metrics.recent_callbacks.set_function(lambda: len(recent))

    def running(self) -> AbstractAsyncContextManager[None]:
        """Replay while the context is open. The recent callbacks end with the process."""
        return in_background(self._run())

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                if self._recent:
                    await self._replay(await self._unknown_outcomes())
            except (TimeoutError, RPCError, RuntimeError) as error:  # see `StatusSignals.send`
                reason = error.status.name if isinstance(error, RPCError) else "unreachable"
                self._warnings.warning(
                    "Temporal could not list the messages with an unknown outcome: %s.", reason
                )
            except Exception as error:  # noqa: BLE001 - a defect must not end the replays
                log_unexpected(_log, error)

    async def _unknown_outcomes(self) -> set[str]:
        """The ids of the workflows that wait for a callback with their SID."""
        pages = self._client.list_workflows(
            UNKNOWN_OUTCOME, page_size=_PAGE_SIZE, rpc_timeout=self._timeout
        )
        ids: set[str] = set()
        while True:
            async with asyncio.timeout(self._timeout.total_seconds()):
                await pages.fetch_next_page()
            ids.update(each.id for each in pages.current_page or ())
            if not pages.next_page_token:
                return ids

    async def _replay(self, workflow_ids: set[str]) -> None:
        limit = asyncio.Semaphore(_CONCURRENCY)

        async def replay(message_id: str, status: DeliveryStatus) -> None:
            async with limit:
                match await self._signals.send(message_id, status):
                    case Signaled(target):
                        result = target.value
                    case Rejected():
                        result = "rejected"
                    case Unavailable():
                        return  # stays for the next poll
                    case other:
                        assert_never(other)
            self._metrics.replayed_callbacks.labels(result).inc()
            self._recent.remove(message_id, status)

        async with asyncio.TaskGroup() as group:
            for callback in self._recent.of(workflow_ids):
                group.create_task(replay(*callback))
