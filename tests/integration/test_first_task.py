"""Signals and updates in a workflow's first task: the SDK delivers them before `run` starts."""

import asyncio
from typing import Any

import pytest
from temporalio.client import WithStartWorkflowOperation

from signedfor.client import CONFLICT_POLICY
from signedfor.contract import (
    DEAD_LETTER,
    DELIVERY_STATUS_SIGNAL,
    MESSAGES_QUEUE,
    RESOLVE_UPDATE,
    SEND_MESSAGE,
    DeadLetterOutcome,
    DeadLetterReport,
    DeadLetterRequest,
    DeliveryStatus,
    MessageReport,
    Outcome,
    dead_letter_workflow_id,
    message_workflow_id,
)
from tests.fixtures.stack import TEXT, NewNumber
from tests.integration.support import Caller, Sent, new_id

pytestmark = pytest.mark.integration

_SID = "SM" + "5a" * 16


async def test_a_receipt_before_the_dead_letter_has_started_closes_it(
    caller: Caller, new_number: NewNumber
) -> None:
    """A receipt can arrive before a worker has started the dead letter, for instance under load."""
    dead_letter = await _dead_letter(caller, new_number())

    handle = await caller.client.start_workflow(
        DEAD_LETTER,
        dead_letter,
        id=dead_letter_workflow_id(new_id()),
        task_queue=MESSAGES_QUEUE,
        result_type=DeadLetterReport,
        start_signal=DELIVERY_STATUS_SIGNAL,
        start_signal_args=[DeliveryStatus(message_sid=_SID, message_status="delivered")],
    )
    async with asyncio.timeout(20):
        closed = await handle.result()

    assert DeadLetterOutcome.DELIVERED_LATE is closed.outcome


async def test_a_decision_before_the_dead_letter_has_started_is_carried_out(
    caller: Caller, new_number: NewNumber
) -> None:
    """An operator's retry in the same moment is one new message."""
    dead_letter = await _dead_letter(caller, new_number())
    message_id = new_id()
    start: WithStartWorkflowOperation[Any, DeadLetterReport] = WithStartWorkflowOperation(
        DEAD_LETTER,
        dead_letter,
        id=dead_letter_workflow_id(message_id),
        task_queue=MESSAGES_QUEUE,
        id_conflict_policy=CONFLICT_POLICY,
    )

    async with asyncio.timeout(20):
        closed = await caller.client.execute_update_with_start_workflow(
            RESOLVE_UPDATE,
            {"action": "retry", "even_if_taken": True},
            start_workflow_operation=start,
            result_type=DeadLetterReport,
        )
    retry = Sent(
        message_id=closed.retried_as or "",
        to=dead_letter.message.to,
        stack=caller.stack,
        client=caller.client,
    )

    assert DeadLetterOutcome.RETRIED is closed.outcome
    assert Outcome.DELIVERED is (await retry.report()).outcome
    assert 2 == len(retry.accepted())


async def test_a_receipt_before_the_message_has_started_counts(
    caller: Caller, new_number: NewNumber
) -> None:
    """A message with a delivered receipt in its first task is not submitted."""
    to = new_number()
    handle = await caller.client.start_workflow(
        SEND_MESSAGE,
        {"to": to, "body": TEXT},
        id=message_workflow_id(new_id()),
        task_queue=MESSAGES_QUEUE,
        result_type=MessageReport,
        start_signal=DELIVERY_STATUS_SIGNAL,
        start_signal_args=[DeliveryStatus(message_sid=_SID, message_status="delivered")],
    )

    async with asyncio.timeout(20):
        report = await handle.result()

    assert (Outcome.DELIVERED, 1, _SID) == (report.outcome, report.attempts, report.message_sid)


async def _dead_letter(caller: Caller, to: str) -> DeadLetterRequest:
    """The dead letter of a message without a receipt."""
    sent = await caller.send(to, {"final": "sent"}, receipt_timeout_seconds=1)
    await sent.report()
    return (await sent.dead_letter()).request
