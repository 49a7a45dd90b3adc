"""What Temporal's answers mean: which workflow was not found, and which answer did not come."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure
from temporalio.client import RPCTimeoutOrCancelledError
from temporalio.service import RPCError, RPCStatusCode

_Result = TypeVar("_Result")


async def answer(update: Awaitable[_Result], *, within: float) -> _Result:
    """The answer to an update; TimeoutError when no worker gives it within that many seconds."""
    try:
        async with asyncio.timeout(within):
            return await update
    except RPCTimeoutOrCancelledError:
        # The SDK raises this for every cancellation, Ctrl-C included.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError from None
        raise TimeoutError from None


def is_workflow_missing(error: RPCError) -> bool:
    """Whether the workflow was not found, rather than its namespace."""
    return error.status is RPCStatusCode.NOT_FOUND and not is_namespace_missing(error)


def is_namespace_missing(error: RPCError) -> bool:
    """Whether the namespace was not found, rather than a workflow in it."""
    return any(
        detail.Is(NamespaceNotFoundFailure.DESCRIPTOR) for detail in error.grpc_status.details
    )
