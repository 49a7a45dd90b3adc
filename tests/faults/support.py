"""What the fault tests share: a send that is held just before its POST, and callbacks."""

import sqlite3
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, PendingWorkflowTaskState
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client
from twilio.request_validator import RequestValidator

from devtools.sandbox.accounts import DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN
from devtools.sandbox.client import AcceptedRow
from devtools.sandbox.magic import GOOD_SENDER
from devtools.stack.local import LocalStack
from signedfor.contract import PROGRESS_QUERY, Stage
from signedfor.store.database import open_engine
from signedfor.store.rate_limiter import RateLimiter
from signedfor.twilio.rates import SenderKind
from tests.integration.support import Caller, Sent, until

_SECONDS_AHEAD = 12
"""Enough to see that it waits and to lock the database, on a slow machine too."""


@contextmanager
def database_locked(stack: LocalStack) -> Iterator[None]:
    """Keep every other connection from writing to the stack's database while the block runs.

    A send is then blocked in its last check: started, without a byte of its POST written.
    """
    path = Path(stack.settings["DATABASE_URL"].removeprefix("sqlite:///"))
    connection = sqlite3.connect(path, isolation_level=None, timeout=10)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()


async def sent_soon(caller: Caller, to: str) -> Sent:
    """Send a message that is admitted and waits for its reservation, seconds from now."""
    engine = open_engine(caller.stack.settings["DATABASE_URL"])
    try:
        rates = {SenderKind.LONG_CODE: 1.0}
        RateLimiter(engine, rates=rates).reserve(GOOD_SENDER, _SECONDS_AHEAD, is_urgent=False)
    finally:
        engine.dispose()
    sent = await caller.send(to)

    async def waits() -> bool:
        progress = await sent.handle.query(PROGRESS_QUERY)
        return bool(progress["status"] == Stage.WAITING)

    await until(waits, "the message to wait for its reservation")
    return sent


async def send_started(sent: Sent) -> None:
    """Return when a worker has the workflow task in which the message is sent."""

    async def started() -> bool:
        description = await sent.handle.describe()
        task = description.raw_description.pending_workflow_task
        return task.state == PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_STARTED

    await until(started, "the send to start")


def completed_tasks(events: Iterable[HistoryEvent]) -> list[int]:
    """The ids of the events to which a workflow with these events can be reset."""
    return [
        event.event_id
        for event in events
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    ]


async def reset_workflow(
    client: Client, workflow_id: str, event_id: int, *, run_id: str = ""
) -> str:
    """Reset it to this workflow task of a run, as `temporal workflow reset` does.

    Returns the id of the new run.
    """
    answer = await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
            reason="test",
            workflow_task_finish_event_id=event_id,
            request_id=str(uuid.uuid4()),
        )
    )
    return answer.run_id


async def post_callback(http: httpx.AsyncClient, row: AcceptedRow, *, status: str) -> int:
    """Post a signed status callback for an accepted message; the HTTP status of the answer."""
    url = (row["status_callback"] or "").partition("#")[0]
    fields = {"AccountSid": DEFAULT_ACCOUNT_SID, "MessageSid": row["sid"], "MessageStatus": status}
    validator = RequestValidator(DEFAULT_AUTH_TOKEN)  # type: ignore[no-untyped-call] # the SDK's
    signature: str = validator.compute_signature(  # type: ignore[no-untyped-call] # the SDK's
        url, fields
    )
    answer = await http.post(url, data=fields, headers={"X-Twilio-Signature": signature})
    return answer.status_code
