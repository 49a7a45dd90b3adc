import asyncio

import pytest

from devtools.sandbox.magic import GOOD_SENDER
from devtools.stack.local import LocalStack
from signedfor.contract import (
    OPEN,
    RESOLVE_UPDATE,
    DeadLetterOutcome,
    DeadLetterReport,
    Outcome,
    Stage,
)
from signedfor.contract.failures import FailureClass
from tests.fixtures.stack import NewNumber
from tests.integration.support import SERVICE, Caller, Sent, until_true

pytestmark = pytest.mark.integration

_NO_NEWS = {"final": "sent"}
"""For some carriers `sent` is the last status."""
_LATE = {"final": "sent", "callbacks": {"statuses": ["sent", "delivered"], "delay": 4}}
"""Twilio's status is `sent` until the receipt arrives, four seconds later."""


async def test_callbacks_in_any_order_and_number_deliver(
    caller: Caller, new_number: NewNumber
) -> None:
    """Doubled, reordered, early or partly lost: the message is delivered once, without delay."""
    scripts = (
        {"double": 3},
        {"reorder": True},
        {"before_response": True},
        {"before_response": True, "double": 2},
        {"lost": ["queued", "sent"]},
        {"statuses": ["delivered", "sent", "failed", "undelivered"]},
    )
    sent = [
        await caller.send(new_number(), {"callbacks": each}, sender=sender)
        for each in scripts
        for sender in (GOOD_SENDER, SERVICE)
    ]

    reports = await asyncio.gather(*(each.report() for each in sent))

    for message, report in zip(sent, reports, strict=True):
        [row] = message.accepted()
        assert (Outcome.DELIVERED, 1, row["sid"]) == (
            report.outcome,
            report.attempts,
            report.message_sid,
        )
        await _quiet(message)
        assert [] == [each for each in message.callbacks() if each["http_status"] != 204]
        assert Outcome.DELIVERED.value == (await message.progress()).status
    assert 3 == len(sent[0].callbacks("delivered"))


async def test_a_read_receipt_means_delivered(caller: Caller, new_number: NewNumber) -> None:
    """WhatsApp's `read` may be the only receipt that arrives."""
    sent = await caller.send(
        f"whatsapp:{new_number()}",
        {"final": "read", "callbacks": {"lost": ["delivered"]}},
        sender=f"whatsapp:{GOOD_SENDER}",
    )

    report = await sent.report()

    assert Outcome.DELIVERED is report.outcome
    assert ["sent", "read"] == [each["status"] for each in sent.callbacks()]


async def test_lost_receipts_are_fetched_from_twilio(caller: Caller, new_number: NewNumber) -> None:
    """Without any callback the final status is fetched, whether delivered or not."""
    lost = {"callbacks": {"lost": True}}
    good = await caller.send(new_number(), lost)
    bad = await caller.send(new_number(), {**lost, "final": "undelivered", "error_code": 30007})

    reports = await asyncio.gather(good.report(), bad.report())

    assert [] == good.callbacks() + bad.callbacks()
    assert [(Outcome.DELIVERED, None), (Outcome.UNDELIVERED, 30007)] == [
        (each.outcome, each.error_code) for each in reports
    ]
    assert FailureClass.CARRIER_FILTERED is reports[1].failure_class
    assert (1, 1) == (len(good.accepted()), len(bad.accepted()))


async def test_a_message_without_receipt_can_be_retried(
    stack: LocalStack, caller: Caller, new_number: NewNumber
) -> None:
    """No receipt in time is a dead letter; its retry is a new message with an id of its own."""
    sent = await caller.send(new_number(), _NO_NEWS, receipt_timeout_seconds=2)

    report = await sent.report()
    dead_letter = await sent.dead_letter()
    closed = await sent.dead_letter_handle.execute_update(
        RESOLVE_UPDATE,
        {"action": "retry", "by": "tester", "even_if_taken": True},
        result_type=DeadLetterReport,
    )
    retry = Sent(
        message_id=f"{sent.message_id}.retry-1", to=sent.to, stack=stack, client=caller.client
    )
    retried = await retry.report()

    assert (Outcome.UNCONFIRMED, FailureClass.NO_RECEIPT) == (report.outcome, report.failure_class)
    assert (OPEN, report) == (dead_letter.status, dead_letter.request.report)
    assert (DeadLetterOutcome.RETRIED, retry.message_id) == (closed.outcome, closed.retried_as)
    assert closed == await sent.dead_letter_handle.result()
    assert (Outcome.DELIVERED, retry.message_id) == (retried.outcome, retried.message_id)
    assert [report.message_sid, retried.message_sid] == [row["sid"] for row in sent.accepted()]


async def test_a_late_receipt_closes_the_dead_letter(caller: Caller, new_number: NewNumber) -> None:
    """A delivered receipt after the timeout closes the dead letter without a decision."""
    sent = await caller.send(new_number(), _LATE, receipt_timeout_seconds=1)

    report = await sent.report()
    opened = await sent.dead_letter()
    async with asyncio.timeout(20):
        closed = await sent.dead_letter_handle.result()

    assert (Outcome.UNCONFIRMED, OPEN) == (report.outcome, opened.status)
    assert DeadLetterOutcome.DELIVERED_LATE is closed.outcome
    await _quiet(sent)
    [receipt] = sent.callbacks("delivered")
    assert 204 == receipt["http_status"]
    assert 1 == len(sent.accepted())


async def test_a_submitted_message_cannot_be_canceled(
    caller: Caller, new_number: NewNumber
) -> None:
    """Once Twilio has the message, cancel answers that it is too late, and it continues."""
    sent = await caller.send(new_number(), {"callbacks": {"delay": 1.5}})
    await sent.reaches(Stage.AWAITING_RECEIPT)

    canceled = await sent.cancel()
    report = await sent.report()

    assert (False, Stage.AWAITING_RECEIPT) == (canceled.canceled, canceled.status)
    assert Outcome.DELIVERED is report.outcome


async def _quiet(sent: Sent) -> None:
    """Wait until Twilio has nothing more to post."""
    sandbox = sent.stack.sandbox
    await until_true(
        lambda: (
            all(row["finished"] for row in sent.accepted()) and sandbox.summary()["pending"] == 0
        ),
        "the last callback",
    )
