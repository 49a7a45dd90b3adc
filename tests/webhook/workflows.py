"""Workflows without a worker, for the webhook to signal; their histories have the signals."""

from uuid import uuid4

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle
from temporalio.common import SearchAttributePair, TypedSearchAttributes

from signedfor.contract import (
    DELIVERY_STATUS_SIGNAL,
    SEND_MESSAGE,
    DeliveryStatus,
    Stage,
    dead_letter_workflow_id,
    message_workflow_id,
)
from signedfor.search_attributes import MESSAGE_STATUS

Handle = WorkflowHandle[object, object]


def new_message_id() -> str:
    """An id that no other test uses."""
    return f"order-{uuid4().hex}"


async def open_message(client: Client, message_id: str) -> Handle:
    """Start a message that waits for its receipt."""
    return await _start(client, message_workflow_id(message_id))


async def message_at(client: Client, stage: Stage, message_id: str) -> Handle:
    """Start a message that has this stage in visibility."""
    handle: Handle = await client.start_workflow(
        SEND_MESSAGE,
        id=message_workflow_id(message_id),
        task_queue="no-worker",
        search_attributes=TypedSearchAttributes([SearchAttributePair(MESSAGE_STATUS, stage.value)]),
    )
    return handle


async def open_dead_letter(client: Client, message_id: str) -> Handle:
    """Start the message's dead letter."""
    return await _start(client, dead_letter_workflow_id(message_id))


async def _start(client: Client, workflow_id: str) -> Handle:
    handle: Handle = await client.start_workflow("Waits", id=workflow_id, task_queue="no-worker")
    return handle


async def received(client: Client, handle: Handle) -> list[DeliveryStatus]:
    """The receipts that were signaled, decoded as in a workflow."""
    statuses: list[DeliveryStatus] = []
    async for event in handle.fetch_history_events():
        if event.event_type != EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
            continue
        signal = event.workflow_execution_signaled_event_attributes
        assert signal.signal_name == DELIVERY_STATUS_SIGNAL
        statuses += await client.data_converter.decode(signal.input.payloads, [DeliveryStatus])
    return statuses
