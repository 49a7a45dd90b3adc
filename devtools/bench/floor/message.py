"""The floor's workflow: one POST, one signal, one timer. No check, no retry class, no report.

What it has in common with ours, so that nothing but the features differs: the activity is on a
task queue of its own and is not started eagerly (ours must not be, for the ceiling on sends), the
receipt comes as one signal, and a timer runs while it is waited for. What it lacks: admission, the
last check and its note, failure classes, search attributes, details for the UI, query, update,
Pydantic.
"""

import asyncio
import contextlib
from datetime import timedelta
from typing import Any

from temporalio import workflow

FLOOR_MESSAGE = "FloorMessage"
FLOOR_QUEUE = "floor"
FLOOR_SENDS_QUEUE = "floor-sends"
FLOOR_POST = "floor_post"
FLOOR_PREFIX = "floor:"
DELIVERY_STATUS = "delivery_status"
_POST_TIMEOUT = timedelta(seconds=20)
_RECEIPT_TIMEOUT = timedelta(hours=12)


@workflow.defn(name=FLOOR_MESSAGE)
class FloorMessage:
    """SendAttempts a message and waits for its receipt."""

    def __init__(self) -> None:
        self._status: str | None = None

    @workflow.run
    async def run(self, message: dict[str, Any]) -> dict[str, Any]:
        """Carry the message to its receipt."""
        sid: str = await workflow.execute_activity(
            FLOOR_POST,
            message,
            result_type=str,
            task_queue=FLOOR_SENDS_QUEUE,
            start_to_close_timeout=_POST_TIMEOUT,
        )
        with contextlib.suppress(asyncio.TimeoutError):
            await workflow.wait_condition(
                lambda: self._status is not None, timeout=_RECEIPT_TIMEOUT
            )
        return {"outcome": self._status, "message_sid": sid}

    @workflow.signal(name=DELIVERY_STATUS)
    def delivery_status(self, callback: dict[str, Any]) -> None:
        """Take in the receipt."""
        self._status = callback["message_status"]
