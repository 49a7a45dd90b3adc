"""Remembers for a while what callbacks say that no workflow hears of, and tells those it helps.

A callback such as `sent` cannot change an outcome, and a signal for each would cost history and
money. But it holds our message's id and Twilio's SID, and where the answer to the create got lost
that is all there is to know: without it the message would be sent twice.
"""

import asyncio
import contextlib
import logging
import time
import traceback
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Final

from temporalio.client import Client
from temporalio.service import RPCError

from signedfor.contract import SEND_MESSAGE, DeliveryStatus, Stage, message_workflow_id
from signedfor.search_attributes import MESSAGE_STATUS
from webhook.metrics import Metrics
from webhook.signals import ReceiptNotTaken, ReceiptRefused, Receipts
from webhook.sparing import SparingLog

_log = logging.getLogger(__name__)

ASK_SECONDS: Final = 5.0
"""Between two questions which messages are of unknown fate; each looks for a minute, as a rule."""
REMEMBERED_SECONDS: Final = 300.0
MOST_REMEMBERED: Final = 100_000
"""Messages, about a kilobyte each."""
_AT_A_TIME = 20
_PAGE = 1000
_OF_UNKNOWN_FATE = (
    f"WorkflowType = '{SEND_MESSAGE}' AND ExecutionStatus = 'Running' "
    f"AND {MESSAGE_STATUS.name} = '{Stage.RESOLVING}'"
)

_Said = tuple[str, DeliveryStatus]


class Remembered:
    """The last that was said of each of Twilio's messages, until it is old or there is too much."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # By workflow and SID, in the order in which they were heard.
        self._said: dict[tuple[str, str], tuple[float, _Said]] = {}

    def __len__(self) -> int:
        self._forget_the_old()
        return len(self._said)

    def add(self, message_id: str, status: DeliveryStatus) -> None:
        """Remember what a callback says."""
        key = (message_workflow_id(message_id), status.message_sid)
        self._said.pop(key, None)
        self._said[key] = (self._clock(), (message_id, status))
        self._forget_the_old()

    def forget(self, message_id: str, status: DeliveryStatus) -> None:
        """This is now known elsewhere, and with it the SID."""
        self._said.pop((message_workflow_id(message_id), status.message_sid), None)

    def of(self, workflow_ids: set[str]) -> list[_Said]:
        """What is remembered of the messages of these workflows."""
        if not workflow_ids:
            return []
        return [said for (id_, _), (_, said) in self._said.items() if id_ in workflow_ids]

    def _forget_the_old(self) -> None:
        too_old = self._clock() - REMEMBERED_SECONDS
        while self._said:
            oldest = next(iter(self._said))
            if len(self._said) <= MOST_REMEMBERED and self._said[oldest][0] > too_old:
                return
            del self._said[oldest]


class Reminder:
    """Asks Temporal which messages are of unknown fate, and signals them what is remembered."""

    def __init__(
        self,
        *,
        remembered: Remembered,
        client: Client,
        receipts: Receipts,
        timeout: timedelta,
        metrics: Metrics,
    ) -> None:
        self._remembered = remembered
        self._client = client
        self._receipts = receipts
        self._timeout = timeout
        self._metrics = metrics
        self._warnings = SparingLog(_log)
        metrics.remembered.set_function(lambda: len(remembered))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Remind while the context is open. What is remembered then ends with the process."""
        task = asyncio.create_task(self._run(), name="reminder")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(ASK_SECONDS)
            try:
                if self._remembered:
                    await self._remind(await self._of_unknown_fate())
            except (TimeoutError, RPCError, RuntimeError) as error:  # see `Receipts.deliver`
                why = error.status.name if isinstance(error, RPCError) else "it is away"
                self._warnings.warning(
                    "Temporal did not say which messages are of unknown fate: %s.", why
                )
            except Exception as error:  # noqa: BLE001 - a defect here must not end the reminding
                places = "".join(traceback.format_tb(error.__traceback__))
                _log.error("A defect: %s, passed through\n%s", type(error).__name__, places)

    async def _of_unknown_fate(self) -> set[str]:
        """The workflows that wait for a callback to name their SID."""
        found = self._client.list_workflows(
            _OF_UNKNOWN_FATE, page_size=_PAGE, rpc_timeout=self._timeout
        )
        ids: set[str] = set()
        while True:
            async with asyncio.timeout(self._timeout.total_seconds()):
                await found.fetch_next_page()
            ids.update(each.id for each in found.current_page or ())
            if not found.next_page_token:
                return ids

    async def _remind(self, workflow_ids: set[str]) -> None:
        turns = asyncio.Semaphore(_AT_A_TIME)

        async def tell(message_id: str, status: DeliveryStatus) -> None:
            async with turns:
                try:
                    taker = await self._receipts.deliver(message_id, status)
                except ReceiptRefused:
                    result = "refused"
                except ReceiptNotTaken:
                    return  # remembered for the next time
                else:
                    result = taker.value
            self._metrics.handed_on.labels(result).inc()
            self._remembered.forget(message_id, status)

        async with asyncio.TaskGroup() as group:
            for said in self._remembered.of(workflow_ids):
                group.create_task(tell(*said))
