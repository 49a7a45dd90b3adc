import asyncio
from itertools import permutations
from pathlib import Path

import httpx
import pytest
from temporalio.api.enums.v1 import EventType

from signedfor.contract import OPEN, DeadLetterOutcome, Outcome
from tests.faults.support import post_callback
from tests.fixtures.stack import NewNumber, silent_stack
from tests.integration.support import Caller, events_of_type, until

pytestmark = pytest.mark.integration

_STATUSES = ("queued", "sent", "delivered", "undelivered")


async def test_every_order_of_statuses(tmp_path: Path, new_number: NewNumber) -> None:
    """In each of the 24 orders the first final status decides, whatever else is received.

    All four reach the workflow, as they do with FORWARD_ALL_STATUSES.
    """
    orders = list(permutations(_STATUSES))
    with silent_stack(tmp_path, FORWARD_ALL_STATUSES="true") as stack:
        caller = Caller(stack=stack, client=await stack.client())
        sent = [
            await caller.send(
                new_number(), {"callbacks": {"statuses": list(order), "error_code": 30007}}
            )
            for order in orders
        ]
        reports = await asyncio.gather(*(each.report() for each in sent))
        accepted = [len(each.accepted()) for each in sent]
        signals = [
            len(
                events_of_type(
                    await each.events(), EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
                )
            )
            for each in sent
        ]

    expected = [
        Outcome.DELIVERED
        if order.index("delivered") < order.index("undelivered")
        else Outcome.UNDELIVERED
        for order in orders
    ]
    assert expected == [each.outcome for each in reports]
    assert [1] * 24 == accepted
    # Later callbacks find the workflow closed.
    firsts = [min(order.index("delivered"), order.index("undelivered")) + 1 for order in orders]
    assert all(first <= received for first, received in zip(firsts, signals, strict=True))


async def test_ten_copies_of_a_receipt_at_once(caller: Caller, new_number: NewNumber) -> None:
    """Ten copies have the effect of one, while the message runs and after it has ended."""
    no_callbacks = {"final": "sent", "callbacks": {"lost": True}}
    sent = await caller.send(new_number(), no_callbacks)
    await sent.reaches("awaiting_receipt")
    [row] = sent.accepted()

    async with httpx.AsyncClient(trust_env=False) as http:
        first = await asyncio.gather(
            *(post_callback(http, row, status="delivered") for _ in range(10))
        )
        report = await sent.report()
        second = await asyncio.gather(
            *(post_callback(http, row, status="undelivered") for _ in range(10))
        )

    assert [204] * 20 == [*first, *second]
    assert Outcome.DELIVERED is report.outcome
    assert report == await sent.report()
    ends = events_of_type(await sent.events(), EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED)
    assert 1 == len(ends)
    assert 1 == len(sent.accepted())


async def test_ten_copies_of_a_receipt_for_a_dead_letter(
    caller: Caller, new_number: NewNumber
) -> None:
    """A dead letter is closed once, by the first of ten late receipts."""
    sent = await caller.send(
        new_number(),
        {"final": "sent", "callbacks": {"lost": True}},
        receipt_timeout_seconds=1,
    )
    await sent.report()
    assert OPEN == (await sent.dead_letter()).status
    [row] = sent.accepted()

    async with httpx.AsyncClient(trust_env=False) as http:
        answers = await asyncio.gather(
            *(post_callback(http, row, status="delivered") for _ in range(10))
        )

    async def closed() -> bool:
        return (await sent.dead_letter()).status == DeadLetterOutcome.DELIVERED_LATE

    await until(closed, "the dead letter to be closed")
    assert [204] * 10 == answers
    assert 1 == len(sent.accepted())
