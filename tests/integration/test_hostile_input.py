"""Input that is meant to do harm, from whoever may reach Temporal."""

import asyncio
import contextlib
import statistics
import time
from collections.abc import Sequence
from typing import Any

import pytest
from temporalio.api.common.v1 import (
    Header,
    Payload,
    Payloads,
    SearchAttributes,
    WorkflowType,
)
from temporalio.api.enums.v1 import EventType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest
from temporalio.client import (
    Client,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
)
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from signedfor.contract import (
    CANCEL_UPDATE,
    DELIVERY_STATUS_SIGNAL,
    MESSAGES_QUEUE,
    PROGRESS_QUERY,
    SEND_MESSAGE,
    message_id_of,
    message_workflow_id,
)
from signedfor.payloads import INVALID_INPUT, MAX_PROBLEMS
from tests.encryption import stranger_to
from tests.fixtures.stack import TEXT, NewNumber
from tests.hostile_payloads import STARTS, plain
from tests.integration.support import Caller, Sent, events_of_type, new_id
from tests.integration.test_bad_input import failure_of

pytestmark = pytest.mark.integration

_MAX_FAILURE_BYTES = 100_000


@pytest.fixture
async def stranger(caller: Caller) -> Client:
    """A caller that does not encrypt: what it sends is as large as it writes it."""
    return await stranger_to(caller.stack.temporal.address, caller.stack.settings)


async def _start(stranger: Client, arguments: Sequence[Payload]) -> WorkflowHandle[Any, Any]:
    return await stranger.start_workflow(
        SEND_MESSAGE,
        args=[RawValue(each) for each in arguments],
        id=message_workflow_id(new_id()),
        task_queue=MESSAGES_QUEUE,
    )


@pytest.mark.parametrize("name", STARTS)
async def test_a_hostile_start_fails_its_workflow_once(
    caller: Caller, stranger: Client, name: str
) -> None:
    """Its workflow task never fails, and the failure is small and names a hundred problems."""
    handle = await _start(stranger, STARTS[name])

    failure, events = await failure_of(caller.client, handle.id)

    assert (INVALID_INPUT, True) == (failure.type, failure.non_retryable)
    assert [] == events_of_type(events, EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED)
    assert [] == events_of_type(events, EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT)
    [failed] = events_of_type(events, EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED)
    assert failed.ByteSize() < _MAX_FAILURE_BYTES
    assert len(failure.details[0]) <= MAX_PROBLEMS + 1


@pytest.mark.parametrize("kind", [b"\xff", b"Datetime", b"Int", b"KeywordList"])
async def test_a_hostile_search_attribute_keeps_no_message(
    caller: Caller, new_number: NewNumber, kind: bytes
) -> None:
    """The server stores its metadata as it is; the message is sent all the same."""
    to = new_number()
    start = StartWorkflowExecutionRequest(
        namespace="default",
        workflow_id=message_workflow_id(new_id()),
        workflow_type=WorkflowType(name=SEND_MESSAGE),
        task_queue=TaskQueue(name=MESSAGES_QUEUE),
        request_id=new_id(),
        input=Payloads(payloads=[plain({"to": to, "body": TEXT})]),
        search_attributes=SearchAttributes(
            indexed_fields={
                "Tenant": Payload(
                    metadata={"encoding": b"json/plain", "type": kind}, data=b'"2027-13-13"'
                )
            }
        ),
        # Read only where traces are on.
        header=Header(fields={"_tracer-data": plain(b"\xff", encoding=b"\xff")}),
    )

    await caller.client.workflow_service.start_workflow_execution(start)

    sent = Sent(
        message_id=message_id_of(start.workflow_id),
        to=to,
        stack=caller.stack,
        client=caller.client,
    )
    assert "delivered" == (await sent.report()).outcome


async def test_hostile_starts_make_no_message_wait(
    caller: Caller, stranger: Client, new_number: NewNumber
) -> None:
    """While all of them are being refused, with five times a megabyte, others are sent as ever."""

    async def took(to: str) -> float:
        started = time.perf_counter()
        await (await caller.send(to)).report()
        return time.perf_counter() - started

    before = [await took(new_number()) for _ in range(10)]
    await asyncio.gather(
        *(
            _start(stranger, each)
            for each in (*STARTS.values(), *[STARTS["a megabyte of text"]] * 5)
        )
    )
    meanwhile = [await took(new_number()) for _ in range(10)]

    # The first one or two wait while all are being refused. Without limits half of them wait.
    assert sorted(meanwhile)[-3] < 3 * statistics.median(before)


async def test_hostile_signals_updates_and_queries_change_nothing(
    caller: Caller, stranger: Client, new_number: NewNumber
) -> None:
    """Signals are dropped, updates refused, and queries harmless; the message goes on."""
    sent = await caller.send(new_number(), send_at="2099-01-01T00:00:00Z")
    await sent.reaches("scheduled")
    handle = stranger.get_workflow_handle(sent.handle.id)
    for arguments in STARTS.values():
        raw = [RawValue(each) for each in arguments]
        await handle.signal(DELIVERY_STATUS_SIGNAL, args=raw)
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await handle.execute_update(CANCEL_UPDATE, args=raw)
        assert isinstance(refused.value.cause, ApplicationError)
        assert INVALID_INPUT == refused.value.cause.type
        with contextlib.suppress(WorkflowQueryFailedError):  # the SDK leaves out what none is for
            assert "scheduled" == (await handle.query(PROGRESS_QUERY, args=raw))["status"]

    assert "scheduled" == (await sent.progress()).status
    assert [] == events_of_type(await sent.events(), EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED)
    assert (await sent.cancel()).canceled


async def test_a_null_argument_is_no_argument(caller: Caller, new_number: NewNumber) -> None:
    """Other SDKs send `binary/null` for it."""
    sent = await caller.send(new_number(), send_at="2099-01-01T00:00:00Z")
    await sent.reaches("scheduled")

    await sent.handle.execute_update(CANCEL_UPDATE, RawValue(plain(b"", encoding=b"binary/null")))

    assert "canceled" == (await sent.report()).outcome
