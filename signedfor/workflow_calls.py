"""Calls to one workflow in Temporal: describe it, and send it an update."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any, Final, TypeVar

from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure
from temporalio.client import (
    RPCTimeoutOrCancelledError,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from signedfor import client
from signedfor.contract import MESSAGES_QUEUE
from signedfor.contract.base import ContractModel
from signedfor.errors import BadInput, CommandError, NotFound, Refused, Unavailable

RPC_TIMEOUT: Final = timedelta(seconds=10)
NO_WORKER: Final = (
    f"No worker answers on task queue {MESSAGES_QUEUE}. Start one (`python -m worker`), or see "
    "`signedfor doctor`."
)

_NO_ANSWER: Final = "Temporal does not answer. Is it up, and is TEMPORAL_ADDRESS right?"
_NO_ACCESS: Final = "Temporal refuses access. See TEMPORAL_API_KEY, TEMPORAL_TLS_* and permissions."
_EXPLANATIONS: Final = {
    RPCStatusCode.UNAVAILABLE: _NO_ANSWER,
    RPCStatusCode.DEADLINE_EXCEEDED: _NO_ANSWER,
    RPCStatusCode.CANCELLED: _NO_ANSWER,
    RPCStatusCode.UNAUTHENTICATED: _NO_ACCESS,
    RPCStatusCode.PERMISSION_DENIED: _NO_ACCESS,
    RPCStatusCode.FAILED_PRECONDITION: (
        "The workers cannot continue this workflow now; see their logs and the Temporal UI."
    ),
}

_Result = TypeVar("_Result")


async def update(
    handle: WorkflowHandle[Any, Any],
    name: str,
    argument: ContractModel,
    result_type: type[_Result],
    *,
    within: float,
) -> _Result | None:
    """The answer to a workflow's update; None if no such workflow runs.

    Raises:
        BadInput: the workflow found bad fields; each is named as in the contract.
        Refused: the workflow refused the update; the text is the workflow's own.
        TimeoutError: no worker answered within that many seconds.
    """
    try:
        return await answer(
            handle.execute_update(name, argument, result_type=result_type), within=within
        )
    except WorkflowUpdateFailedError as error:
        if (bad_input := client.bad_input_in(error.cause)) is not None:
            problems = [(each.field, each.problem) for each in bad_input.problems]
            raise BadInput(problems) from None
        if isinstance(error.cause, ApplicationError):
            raise Refused(error.cause.message) from None
        raise Refused(f"The workflow refused it ({type(error.cause).__name__}).") from None
    except RPCError as error:
        if not is_workflow_missing(error):
            raise
        description = await describe(handle)
        if description is not None and description.status is WorkflowExecutionStatus.RUNNING:
            raise
        return None


async def describe(handle: WorkflowHandle[Any, Any]) -> WorkflowExecutionDescription | None:
    """Temporal's description of the workflow; None if there is none."""
    try:
        return await handle.describe(rpc_timeout=RPC_TIMEOUT)
    except RPCError as error:
        if not is_workflow_missing(error):
            raise
        return None


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


def rpc_error(error: RPCError) -> CommandError:
    """The error in a sentence, without Temporal's own text, which may quote what was typed."""
    if is_namespace_missing(error):
        return Unavailable("Temporal has no such namespace. See TEMPORAL_NAMESPACE.")
    if error.status is RPCStatusCode.NOT_FOUND:
        return NotFound("Temporal has no workflow with that ID, or has deleted it.")
    if error.status is RPCStatusCode.INVALID_ARGUMENT and "search attribute" in error.message:
        return Unavailable(
            "Temporal lacks the search attributes that messages have. "
            "`signedfor doctor --fix` registers them."
        )
    return Unavailable(
        _EXPLANATIONS.get(error.status, f"The request to Temporal failed ({error.status.name}).")
    )


def is_workflow_missing(error: RPCError) -> bool:
    """Whether the workflow was not found, rather than its namespace."""
    return error.status is RPCStatusCode.NOT_FOUND and not is_namespace_missing(error)


def is_namespace_missing(error: RPCError) -> bool:
    """Whether the namespace was not found, rather than a workflow in it."""
    return any(
        detail.Is(NamespaceNotFoundFailure.DESCRIPTOR) for detail in error.grpc_status.details
    )


def is_no_worker(error: RPCError) -> bool:
    """Whether a query failed because no worker answered it."""
    return error.status in {
        RPCStatusCode.FAILED_PRECONDITION,  # no worker has polled the queue for a while
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.CANCELLED,
    }
