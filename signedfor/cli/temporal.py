"""The command line's connection to Temporal; each error becomes one sentence."""

import asyncio
import os
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from temporalio.client import (
    Client,
    RPCTimeoutOrCancelledError,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)
from temporalio.exceptions import ApplicationError, TemporalError
from temporalio.service import RPCError

from signedfor import client, workflow_calls
from signedfor.cli.options import OPTIONS, option_problems
from signedfor.cli.output import BadInput, CommandError, NotFound, Unavailable
from signedfor.contract.base import ContractModel
from signedfor.errors import InvalidSettings
from signedfor.payloads import UnreadableInput, UnreadablePayload
from signedfor.temporal import TemporalUnavailable, connect_config, connect_temporal
from signedfor.workflow_calls import (
    NO_WORKER,
    RPC_TIMEOUT,
    answer,
    describe,
    is_no_worker,
    is_workflow_missing,
    rpc_error,
)

__all__ = [
    "NO_WORKER",
    "RPC_TIMEOUT",
    "answer",
    "command_error",
    "connect",
    "describe",
    "is_no_worker",
    "is_workflow_missing",
    "run",
    "update",
]

_CONNECT_SECONDS = 10

_Result = TypeVar("_Result")


def run(command: Coroutine[Any, Any, _Result]) -> _Result:
    """Run a command's coroutine; what Temporal and our client raise becomes a `CommandError`."""
    try:
        return asyncio.run(command)
    except (client.BadInput, client.NotFound, RPCError, TemporalError, UnreadablePayload) as error:
        raise command_error(error) from None


def command_error(
    error: client.BadInput | client.NotFound | RPCError | TemporalError | UnreadablePayload,
) -> CommandError:
    """The error in a sentence, without Temporal's own text, which may quote what was typed."""
    match error:
        case client.BadInput():
            problems = [(each.field, each.problem) for each in error.problems]
            return BadInput(problems)
        case client.NotFound():
            return NotFound(str(error))
        case UnreadablePayload():
            return Unavailable(str(error))
        case UnreadableInput():
            return Unavailable(str(UnreadablePayload(error.problem)))
        case WorkflowFailureError():
            return Unavailable(
                f"Its workflow ended without a report ({type(error.cause).__name__}); see it in "
                "the Temporal UI."
            )
        case RPCTimeoutOrCancelledError():
            return Unavailable("Temporal did not answer in time.")
        case RPCError():
            return rpc_error(error)
        case WorkflowQueryFailedError() | WorkflowQueryRejectedError():
            return Unavailable("The workflow could not answer; see it in the Temporal UI.")
        case ApplicationError():
            # From our payload converter: a newer version wrote what this one reads.
            return Unavailable(
                f"This version of signedfor cannot read what Temporal holds ({error.type})."
            )
        case _:
            return Unavailable(f"The request to Temporal failed ({type(error).__name__}).")


async def connect(*, lazy: bool = False) -> Client:
    """A client for the Temporal that `TEMPORAL_*` name; `lazy` connects at the first call.

    Raises:
        BadInput: the variables, or the profile file they name, cannot be read.
        Unavailable: it does not answer, refuses access, or has no such namespace.
    """
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            return await connect_temporal(lazy=lazy)
    except InvalidSettings as error:
        raise BadInput([(_variables(error), str(error))]) from None
    except TemporalUnavailable as error:
        raise Unavailable(f"{error}{_unset()}") from None
    except TimeoutError:
        raise Unavailable(
            f"Temporal did not answer within {_CONNECT_SECONDS} seconds. "
            "Is TEMPORAL_ADDRESS right, and is it reachable from here?"
        ) from None


def _variables(error: InvalidSettings) -> str:
    """Which variables it is about."""
    return "PAYLOAD_*" if "PAYLOAD_" in str(error) else "TEMPORAL_*"


def temporal_namespace() -> str:
    """The namespace that `TEMPORAL_*` name, without connecting.

    Raises:
        BadInput: the variables, or the profile file they name, cannot be read.
    """
    try:
        return connect_config().get("namespace") or "default"
    except InvalidSettings as error:
        raise BadInput([("TEMPORAL_*", str(error))]) from None


def _unset() -> str:
    """What may have been forgotten."""
    if os.environ.keys() & {"TEMPORAL_ADDRESS", "TEMPORAL_PROFILE", "TEMPORAL_CONFIG_FILE"}:
        return ""
    return (
        " TEMPORAL_ADDRESS is not set: set it, or name a file that sets it with "
        "`signedfor --env-file FILE ...`."
    )


async def update(
    handle: WorkflowHandle[Any, Any],
    name: str,
    argument: ContractModel,
    result_type: type[_Result],
    *,
    within: float,
    options: Mapping[str, str] = OPTIONS,
) -> _Result | None:
    """As `workflow_calls.update`; each bad field is named by its option."""
    try:
        return await workflow_calls.update(handle, name, argument, result_type, within=within)
    except BadInput as error:
        raise BadInput(option_problems(error.problems, options)) from None
