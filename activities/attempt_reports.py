"""Signals that show a message's failed attempts while Temporal retries its send."""

import asyncio
import logging
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeoutError

from temporalio import activity
from temporalio.client import Client
from temporalio.service import RPCError

from signedfor.message_activities import ATTEMPT_FAILED_SIGNAL, AttemptFailed

_SECONDS = 2.0
_logger = logging.getLogger("signedfor.attempts")


class AttemptReports:
    """Signals the workflow of the activity that runs in the calling thread."""

    def __init__(self, client: Client, loop: asyncio.AbstractEventLoop) -> None:
        """`loop` runs the client."""
        self._client = client
        self._loop = loop

    def __call__(self, failed: AttemptFailed) -> None:
        """Report the attempt; if Temporal does not answer, the next report has the number."""
        info = activity.info()
        handle = self._client.get_workflow_handle(
            info.workflow_id or "", run_id=info.workflow_run_id
        )
        signaling = asyncio.run_coroutine_threadsafe(
            handle.signal(ATTEMPT_FAILED_SIGNAL, failed), self._loop
        )
        try:
            signaling.result(_SECONDS)
        except (RPCError, FutureTimeoutError, CancelledError) as error:
            signaling.cancel()
            _logger.info("A failed attempt could not be shown: %s", type(error).__name__)
