"""Reaching Temporal from the command line, and saying plainly when that fails."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final, TypeVar

from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure
from temporalio.client import (
    Client,
    RPCTimeoutOrCancelledError,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)
from temporalio.exceptions import ApplicationError, TemporalError
from temporalio.service import RPCError, RPCStatusCode

from signedfor.cli.output import BadInput, CommandError, NotFound, Trouble
from signedfor.contract import MESSAGES_QUEUE
from signedfor.settings import InvalidSettings
from signedfor.temporal import TemporalUnavailable, connect_temporal

RPC_TIMEOUT: Final = timedelta(seconds=10)
_CONNECT_SECONDS = 10

_Result = TypeVar("_Result")

_NO_ANSWER = "Temporal does not answer. Is it up, and is TEMPORAL_ADDRESS right?"
_REFUSAL = "Temporal refuses us. See TEMPORAL_API_KEY, TEMPORAL_TLS_* and permissions."
_PLAINLY = {
    RPCStatusCode.UNAVAILABLE: _NO_ANSWER,
    RPCStatusCode.DEADLINE_EXCEEDED: _NO_ANSWER,
    RPCStatusCode.CANCELLED: _NO_ANSWER,
    RPCStatusCode.UNAUTHENTICATED: _REFUSAL,
    RPCStatusCode.PERMISSION_DENIED: _REFUSAL,
    RPCStatusCode.FAILED_PRECONDITION: (
        "The workers cannot carry this workflow on now; see their logs and the Temporal UI."
    ),
}

NO_WORKER: Final = (
    f"No worker answers on task queue {MESSAGES_QUEUE}. Start one (`python -m worker`), or see "
    "`signedfor doctor`."
)


def run(command: Coroutine[Any, Any, _Result]) -> _Result:
    """Run a command's coroutine; whatever Temporal raises becomes a `CommandError`."""
    return asyncio.run(_translating(command))


async def _translating(command: Coroutine[Any, Any, _Result]) -> _Result:
    async with temporal_trouble():
        return await command


async def connect(*, lazy: bool = False) -> Client:
    """A client for the Temporal that `TEMPORAL_*` name; `lazy` connects at the first call.

    Raises:
        BadInput: the variables, or the profile file they name, cannot be read.
        Trouble: it does not answer, refuses us, or has no such namespace.
    """
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            return await connect_temporal(lazy=lazy)
    except InvalidSettings as error:
        raise BadInput([("TEMPORAL_*", str(error))]) from None
    except TemporalUnavailable as error:
        raise Trouble(str(error)) from None
    except TimeoutError:
        raise Trouble(
            f"Temporal did not answer within {_CONNECT_SECONDS} seconds. "
            "Is TEMPORAL_ADDRESS right, and is it reachable from here?"
        ) from None


async def answer(update: Awaitable[_Result], *, within: float) -> _Result:
    """The answer to an update; TimeoutError when no worker gives it within that many seconds."""
    try:
        async with asyncio.timeout(within):
            return await update
    except RPCTimeoutOrCancelledError:
        # The SDK says this for every cancellation, Ctrl-C included.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError from None
        raise TimeoutError from None


@asynccontextmanager
async def temporal_trouble() -> AsyncIterator[None]:
    """Turn what the Temporal client raises into the command's error."""
    try:
        yield
    except RPCTimeoutOrCancelledError:
        raise Trouble("Temporal did not answer in time.") from None
    except RPCError as error:
        raise rpc_trouble(error) from None
    except (WorkflowQueryFailedError, WorkflowQueryRejectedError):
        raise Trouble("The workflow could not answer; see it in the Temporal UI.") from None
    except ApplicationError as error:
        # Our payload converter's: a newer version wrote what this one is to read.
        raise Trouble(
            f"What Temporal holds cannot be read by this version of signedfor ({error.type})."
        ) from None
    except TemporalError as error:
        raise Trouble(f"Temporal could not do it ({type(error).__name__}).") from None


def rpc_trouble(error: RPCError) -> CommandError:
    """Temporal's refusal in a sentence. Its own text is left out: it may quote what was typed."""
    if is_namespace_missing(error):
        return Trouble("Temporal has no such namespace. See TEMPORAL_NAMESPACE.")
    if error.status is RPCStatusCode.NOT_FOUND:
        return NotFound("Temporal has no workflow by that id, or not any more.")
    if error.status is RPCStatusCode.INVALID_ARGUMENT and "search attribute" in error.message:
        return Trouble(
            "Temporal lacks the search attributes that messages carry. "
            "`signedfor doctor --fix` registers them."
        )
    return Trouble(_PLAINLY.get(error.status, f"Temporal could not do it ({error.status.name})."))


def is_namespace_missing(error: RPCError) -> bool:
    """Whether it is the namespace that was not found, rather than a workflow in it."""
    return any(
        detail.Is(NamespaceNotFoundFailure.DESCRIPTOR) for detail in error.grpc_status.details
    )


def is_no_worker(error: RPCError) -> bool:
    """Whether a query failed because no worker answered it."""
    return error.status in {
        RPCStatusCode.FAILED_PRECONDITION,  # nobody has polled the queue lately
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.CANCELLED,
    }
