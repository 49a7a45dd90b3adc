"""Where a message stands, asked of Temporal: its progress while it runs, its report afterwards."""

from dataclasses import dataclass
from datetime import timedelta

from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from signedfor.cli.output import BadInput, CommandError, NotFound, Trouble
from signedfor.cli.temporal import NO_WORKER, RPC_TIMEOUT, is_namespace_missing, is_no_worker
from signedfor.contract import (
    PROGRESS_QUERY,
    MessageReport,
    MessageRequest,
    Progress,
    message_workflow_id,
)
from signedfor.payloads import INVALID_INPUT
from signedfor.search_attributes import MESSAGE_STATUS

MessageHandle = WorkflowHandle[object, MessageReport]


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What is known of a message: exactly one of `progress`, `report` and `trouble`."""

    message_id: str
    status: str | None
    """A stage or an outcome; `failed` for a workflow that ended without a report."""
    progress: Progress | None = None
    report: MessageReport | None = None
    trouble: CommandError | None = None


def message_handle(client: Client, message_id: str) -> MessageHandle:
    """The handle of the message's workflow, whether there is one or not."""
    return client.get_workflow_handle(message_workflow_id(message_id), result_type=MessageReport)


async def ask_standing(client: Client, message_id: str, *, within: timedelta) -> Standing:
    """Where the message stands now.

    Raises:
        NotFound: Temporal knows no message by this id, or not any more.
        RPCError: Temporal could not be asked.
    """
    handle = message_handle(client, message_id)
    description = await describe(handle, message_id)
    if description.status is not WorkflowExecutionStatus.RUNNING:
        return await _ended(handle, message_id)
    progress = await ask_progress(handle, within=within)
    if progress is None:
        known = description.typed_search_attributes.get(MESSAGE_STATUS)
        return Standing(message_id=message_id, status=known, trouble=Trouble(NO_WORKER))
    return Standing(message_id=message_id, status=progress.status, progress=progress)


async def describe(handle: MessageHandle, message_id: str) -> WorkflowExecutionDescription:
    """Temporal's description of the message's workflow; NotFound when there is none."""
    try:
        return await handle.describe(rpc_timeout=RPC_TIMEOUT)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND or is_namespace_missing(error):
            raise
        raise NotFound(
            f"There is no message {message_id}. Temporal forgets messages when the namespace's "
            "retention is over."
        ) from None


async def ask_progress(handle: MessageHandle, *, within: timedelta) -> Progress | None:
    """The answer to query `progress`; None when no worker gives it in time."""
    try:
        progress: Progress = await handle.query(
            PROGRESS_QUERY, result_type=Progress, rpc_timeout=within
        )
    except RPCError as error:
        if is_no_worker(error):
            return None
        raise
    return progress


async def _ended(handle: MessageHandle, message_id: str) -> Standing:
    try:
        report = await handle.result(rpc_timeout=RPC_TIMEOUT)
    except WorkflowFailureError as error:
        return Standing(message_id=message_id, status="failed", trouble=why_it_failed(error))
    return Standing(message_id=message_id, status=report.outcome, report=report)


def why_it_failed(error: WorkflowFailureError) -> CommandError:
    """Why a message's workflow ended without a report: bad input, a defect, or an operator."""
    return bad_input_in(error.cause) or Trouble(
        f"Its workflow ended without a report ({type(error.cause).__name__}); see it in the "
        "Temporal UI."
    )


def bad_input_in(cause: BaseException | None) -> BadInput | None:
    """The bad fields that a workflow named when it refused its input, if that is the cause."""
    if not isinstance(cause, ApplicationError) or cause.type != INVALID_INPUT or not cause.details:
        return None
    return BadInput([(str(each["field"]), str(each["problem"])) for each in cause.details[0]])


async def ask_request(client: Client, message_id: str) -> MessageRequest:
    """What was to be sent, read from the workflow's first event. It holds number and text.

    Raises:
        Trouble: it cannot be read; it was bad input, or is encrypted with a key we lack.
    """
    handle = message_handle(client, message_id)
    async for event in handle.fetch_history_events(page_size=1):
        payloads = event.workflow_execution_started_event_attributes.input.payloads
        try:
            (request,) = await client.data_converter.decode(payloads, [MessageRequest])
        except (ApplicationError, RuntimeError, ValueError):
            break
        if isinstance(request, MessageRequest):
            return request
    raise Trouble("What was to be sent cannot be read.")
