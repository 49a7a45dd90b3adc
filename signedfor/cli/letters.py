"""Dead letters as Temporal keeps them: found by query, read, and resolved."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from temporalio.client import (
    Client,
    WorkflowExecution,
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from signedfor.cli.output import BadInput, CommandError, NotFound, Refused, Trouble, Unconfirmed
from signedfor.cli.standing import bad_input_in
from signedfor.cli.temporal import (
    NO_WORKER,
    RPC_TIMEOUT,
    answer,
    is_namespace_missing,
    is_no_worker,
    rpc_trouble,
)
from signedfor.contract import (
    DEAD_LETTER,
    DETAILS_QUERY,
    OPEN,
    RESOLVE_UPDATE,
    DeadLetterDetails,
    DeadLetterReport,
    Resolution,
    dead_letter_workflow_id,
    message_id_of,
)
from signedfor.search_attributes import (
    MESSAGE_SENDER,
    MESSAGE_STATUS,
    SEARCH_ATTRIBUTES,
    TENANT,
    TWILIO_ERROR_CODE,
    TWILIO_SID,
)

AT_A_TIME: Final = 8
"""Letters resolved at once: enough to be quick, few enough to leave the workers to messages."""


@dataclass(frozen=True, kw_only=True)
class LetterRow:
    """A dead letter as the list shows it: only what Temporal may hold in clear."""

    message_id: str
    status: str | None
    opened_at: datetime
    sender: str | None
    tenant: str | None
    message_sid: str | None
    error_code: int | None


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """What became of one letter: its report, or why it could not be resolved."""

    message_id: str
    report: DeadLetterReport | None = None
    error: CommandError | None = None


def letters_query(clause: str | None, *, open_only: bool) -> str:
    """The visibility query for dead letters that also match the operator's `clause`."""
    parts = [f"WorkflowType='{DEAD_LETTER}'"]
    if open_only:
        parts.append(f"{MESSAGE_STATUS.name}='{OPEN}' AND ExecutionStatus='Running'")
    if clause is not None:
        parts.append(f"({clause})")
    return " AND ".join(parts)


async def find_letters(
    client: Client, clause: str | None, *, open_only: bool, limit: int | None = None
) -> AsyncIterator[LetterRow]:
    """The letters that match, newest first. A moment passes before a new one can be found.

    Raises:
        BadInput: Temporal does not understand `clause`.
    """
    query = letters_query(clause, open_only=open_only)
    names = ", ".join(key.name for key in SEARCH_ATTRIBUTES)
    hint = f"must be like TwilioErrorCode = 21408; names besides Temporal's own: {names}"
    try:
        async for execution in client.list_workflows(query, limit=limit):
            # A clause may hold an OR and brackets of its own: what is found is checked again.
            if execution.workflow_type == DEAD_LETTER:
                yield _row(execution)
    except RPCError as error:
        if error.status is not RPCStatusCode.INVALID_ARGUMENT or clause is None:
            raise
        raise BadInput([("--query", f"Temporal does not understand it; it {hint}")]) from None


async def read_letter(client: Client, message_id: str, *, within: float) -> DeadLetterDetails:
    """The letter of this message, open or closed.

    Raises:
        NotFound: there is none, or not any more.
        Trouble: no worker answers.
    """
    try:
        view: DeadLetterDetails = await _handle(client, message_id).query(
            DETAILS_QUERY, result_type=DeadLetterDetails, rpc_timeout=timedelta(seconds=within)
        )
    except RPCError as error:
        if is_no_worker(error):
            raise Trouble(NO_WORKER) from None
        raise _named(error, message_id) from None
    return view


async def resolve(
    client: Client, message_id: str, resolution: Resolution, *, within: float
) -> DeadLetterReport:
    """Resolve one letter.

    Raises:
        NotFound: there is none.
        Refused: it is closed already.
        Unconfirmed: no worker answered within `within` seconds.
    """
    handle = _handle(client, message_id)
    closed = Refused(f"The dead letter of {message_id} is closed already.")
    try:
        update = handle.execute_update(RESOLVE_UPDATE, resolution, result_type=DeadLetterReport)
        return await answer(update, within=within)
    except TimeoutError:
        raise Unconfirmed(
            f"It is not known whether the dead letter of {message_id} was resolved: no worker "
            f"answered within {within:g} seconds. Look with `signedfor dead-letters show`."
        ) from None
    except WorkflowUpdateFailedError as error:
        if isinstance(error.cause, ApplicationError) and error.cause.type == "DeadLetterClosed":
            raise closed from None
        raise bad_input_in(error.cause) or Refused(
            f"The dead letter of {message_id} did not take it ({type(error.cause).__name__})."
        ) from None
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND or is_namespace_missing(error):
            raise
        description = await _describe(handle, message_id)
        if description is WorkflowExecutionStatus.RUNNING:
            raise
        raise closed from None


async def resolve_all(
    client: Client,
    message_ids: Sequence[str],
    resolution: Resolution,
    *,
    within: float,
    on_each: Callable[[Resolved], None],
) -> list[Resolved]:
    """Resolve them, several at a time; each one's end is told to `on_each` and returned."""
    free = asyncio.Semaphore(AT_A_TIME)

    async def one(message_id: str) -> Resolved:
        async with free:
            try:
                report = await resolve(client, message_id, resolution, within=within)
                resolved = Resolved(message_id=message_id, report=report)
            except CommandError as error:
                resolved = Resolved(message_id=message_id, error=error)
            except RPCError as error:
                resolved = Resolved(message_id=message_id, error=rpc_trouble(error))
        on_each(resolved)
        return resolved

    async with asyncio.TaskGroup() as tasks:
        started = [tasks.create_task(one(message_id)) for message_id in message_ids]
    return [task.result() for task in started]


def _handle(client: Client, message_id: str) -> WorkflowHandle[object, DeadLetterReport]:
    return client.get_workflow_handle(
        dead_letter_workflow_id(message_id), result_type=DeadLetterReport
    )


async def _describe(
    handle: WorkflowHandle[object, DeadLetterReport], message_id: str
) -> WorkflowExecutionStatus | None:
    try:
        return (await handle.describe(rpc_timeout=RPC_TIMEOUT)).status
    except RPCError as error:
        raise _named(error, message_id) from None


def _named(error: RPCError, message_id: str) -> CommandError:
    if error.status is RPCStatusCode.NOT_FOUND and not is_namespace_missing(error):
        return NotFound(f"There is no dead letter of a message {message_id}, or not any more.")
    return rpc_trouble(error)


def _row(execution: WorkflowExecution) -> LetterRow:
    attributes = execution.typed_search_attributes
    return LetterRow(
        message_id=message_id_of(execution.id),
        status=attributes.get(MESSAGE_STATUS),
        opened_at=execution.start_time,
        sender=attributes.get(MESSAGE_SENDER),
        tenant=attributes.get(TENANT),
        message_sid=attributes.get(TWILIO_SID),
        error_code=attributes.get(TWILIO_ERROR_CODE),
    )
