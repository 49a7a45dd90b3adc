"""Everything about one message, for people: its state, its history and what can be done."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import temporalio.client
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowExecutionStatus, WorkflowHistory
from temporalio.converter import DataConverter
from temporalio.service import RPCError, RPCStatusCode

from signedfor.client import BadInput, Client, Message, NotFound, request_in
from signedfor.contract import MessageReport, MessageRequest, Progress
from signedfor.errors import Unavailable
from signedfor.masks import named
from signedfor.payloads import UnreadablePayload
from signedfor.search_attributes import MESSAGE_STATUS
from signedfor.timeline import Entry, timeline
from signedfor.workflow_calls import RPC_TIMEOUT

_WORKER_TIMEOUT: Final = timedelta(seconds=3)
"""How long a worker may take to say how far the message is: the rest is shown without."""
_NO_WORKER: Final = frozenset(
    {RPCStatusCode.FAILED_PRECONDITION, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED}
)


@dataclass(frozen=True, kw_only=True)
class MessageDetails:
    """A message; `progress` while it runs and a worker answers, `report` once it has ended."""

    message_id: str
    run_id: str
    status: str
    """A stage or an outcome; `failed` for a workflow that ended without a report."""
    is_running: bool
    started_at: datetime
    request: MessageRequest | None
    """None for bad input."""
    progress: Progress | None
    report: MessageReport | None
    refused: BadInput | None
    """The bad fields for which it was refused."""
    timeline: tuple[Entry, ...]

    @property
    def message_sids(self) -> tuple[str, ...]:
        """The SIDs of its submissions that are known."""
        if self.progress is not None:
            return self.progress.message_sids
        return (self.report.message_sid,) if self.report and self.report.message_sid else ()

    @property
    def error_code(self) -> int | None:
        """Twilio's latest error code."""
        known = self.report or self.progress
        return known.error_code if known else None


async def fetch_details(temporal: temporalio.client.Client, message_id: str) -> MessageDetails:
    """The message.

    Raises:
        NotFound: Temporal has no message with this id, or no longer.
        RPCError: Temporal did not answer.
        Unavailable: its report is encrypted with a key that is not here.
    """
    client = Client(temporal)
    message = client.message(message_id)
    try:
        description = await message.handle.describe(rpc_timeout=RPC_TIMEOUT)
        history = await message.handle.fetch_history(rpc_timeout=RPC_TIMEOUT)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        raise NotFound(
            f"There is no {named('message', message_id)}, or its retention period is over."
        ) from None
    is_running = description.status is WorkflowExecutionStatus.RUNNING
    progress = await _progress(message) if is_running else None
    report = await _report(history, client.data_converter)
    refused = None if is_running or report else await _refused(message)
    shown = description.typed_search_attributes.get(MESSAGE_STATUS) if is_running else "failed"
    return MessageDetails(
        message_id=message_id,
        run_id=description.run_id,
        status=progress.status if progress else report.outcome if report else shown or "sending",
        is_running=is_running,
        started_at=description.start_time,
        request=await request_in(history.events[0], client.data_converter),
        progress=progress,
        report=report,
        refused=refused,
        timeline=tuple(await timeline(history, client.data_converter)),
    )


async def _progress(message: Message) -> Progress | None:
    try:
        return await message.progress(rpc_timeout=_WORKER_TIMEOUT)
    except BadInput:  # it was refused in this moment
        return None
    except RPCError as error:
        if error.status in _NO_WORKER:
            return None
        raise


async def _report(history: WorkflowHistory, converter: DataConverter) -> MessageReport | None:
    last = history.events[-1]
    if last.event_type != EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED:
        return None
    result = last.workflow_execution_completed_event_attributes.result
    try:
        (report,) = await converter.decode(result.payloads, [MessageReport])
    except UnreadablePayload as error:
        raise Unavailable(str(error)) from None
    return report if isinstance(report, MessageReport) else None


async def _refused(message: Message) -> BadInput | None:
    try:
        await message.report()
    except BadInput as error:
        return error
    except temporalio.client.WorkflowFailureError:
        pass  # it was terminated
    return None
