"""The workflows of inbound messages."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from signedfor.contract import InboundKind
from signedfor.inbound import (
    CATCH_UP_WORKFLOW,
    RECORD_INBOUND_WORKFLOW,
    CatchUp,
    CatchUpResult,
    InboundRecord,
)
from signedfor.interceptors import OneArgument
from tests.histories.recording import Handle
from tests.workflows.fakes import RECIPIENT, SENDER, TimeSkippingEnvironment, sid
from workflows.inbound import CatchUpInbound, RecordInbound


@activity.defn(name="record_inbound")
async def _record(_: InboundRecord) -> bool:
    if activity.info().attempt == 1:
        raise ApplicationError("The database cannot be reached.", type="DatabaseUnavailable")
    return True


@activity.defn(name="catch_up_inbound")
async def _catch_up(_: CatchUp) -> CatchUpResult:
    now = datetime.now(UTC)
    return CatchUpResult(since=now - timedelta(hours=1), until=now, listed=3, inbound=1, new=1)


@activity.defn(name="catch_up_inbound")
async def _failing_catch_up(_: CatchUp) -> CatchUpResult:
    raise ApplicationError("Twilio is unreachable.", type="TwilioUnavailable")


async def _run(env: TimeSkippingEnvironment, workflow: str, argument: Any, catch_up: Any) -> Handle:
    queue = f"inbound-{uuid.uuid4().hex}"
    async with Worker(
        env.client,
        task_queue=queue,
        workflows=[RecordInbound, CatchUpInbound],
        activities=[_record, catch_up],
        interceptors=[OneArgument()],
    ):
        handle = await env.client.start_workflow(
            workflow, argument, id=f"inbound:{uuid.uuid4().hex}", task_queue=queue
        )
        # The worker is needed until the workflow has completed or failed.
        async for event in handle.fetch_history_events(wait_new_event=True):
            assert event.event_id
    return handle


async def inbound_recorded(env: TimeSkippingEnvironment) -> Handle:
    """Recorded once the database is available again."""
    record = InboundRecord(
        message_sid=sid(),
        from_=RECIPIENT,
        to=SENDER,
        kind=InboundKind.STOP,
        received_at=datetime.now(UTC),
    )
    return await _run(env, RECORD_INBOUND_WORKFLOW, record, _catch_up)


async def inbound_caught_up(env: TimeSkippingEnvironment) -> Handle:
    """Messages that did not reach the webhook are found in Twilio's list."""
    return await _run(env, CATCH_UP_WORKFLOW, CatchUp(), _catch_up)


async def inbound_not_caught_up(env: TimeSkippingEnvironment) -> Handle:
    """Twilio's list cannot be read: the workflow fails."""
    return await _run(env, CATCH_UP_WORKFLOW, CatchUp(), _failing_catch_up)
