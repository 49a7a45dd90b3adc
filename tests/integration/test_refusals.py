import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType

from devtools.sandbox.client import Step
from devtools.stack.local import LocalStack
from signedfor.contract import OPEN, DeadLetterOutcome, Outcome, Stage
from signedfor.contract.failures import FailureClass
from tests.fixtures.stack import NewNumber
from tests.integration.support import Caller, Sent, events_of_type

pytestmark = pytest.mark.integration

_FULL_QUEUE_SENDER = "+15005550008"


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A create that Twilio refuses permanently, and the expected result."""

    code: int
    failure_class: FailureClass
    to: str | None = None
    """One of the magic numbers; None for a new number."""
    sender: str | None = None
    step: Step | None = None
    http_status: int = 400
    suppresses: bool = False


_UNREACHABLE = FailureClass.RECIPIENT_UNREACHABLE
_MISCONFIGURED = FailureClass.SENDER_MISCONFIGURED
_REFUSALS = (
    Refusal(code=21211, to="+15005550001", failure_class=_UNREACHABLE, suppresses=True),
    Refusal(code=21614, to="+15005550009", failure_class=_UNREACHABLE, suppresses=True),
    Refusal(
        code=21610,
        to="+15005550004",
        failure_class=FailureClass.RECIPIENT_OPTED_OUT,
        suppresses=True,
    ),
    Refusal(code=21612, to="+15005550002", failure_class=_MISCONFIGURED),
    Refusal(code=21408, to="+15005550003", failure_class=_MISCONFIGURED),
    Refusal(code=21212, sender="+15005550001", failure_class=_MISCONFIGURED),
    Refusal(code=21606, sender="+15005550007", failure_class=_MISCONFIGURED),
    Refusal(
        code=29_999,
        step={"respond": "error", "code": 29_999, "http_status": 400},
        failure_class=FailureClass.REQUEST_REJECTED,
    ),
)


async def test_a_terminal_code_is_attempted_once(caller: Caller, new_number: NewNumber) -> None:
    """Each terminal code costs one POST and ends in its class and a dead letter.

    Codes about the recipient (21211, 21610, 21614) are recorded and close the dead letter, and the
    next message to that recipient is suppressed without a POST.
    """

    async def send(refusal: Refusal) -> Sent:
        fields: dict[str, Any] = {"sender": refusal.sender} if refusal.sender else {}
        steps = [refusal.step] if refusal.step else []
        return await caller.send(refusal.to or new_number(), *steps, **fields)

    sent = [(each, await send(each)) for each in _REFUSALS]
    reports = await asyncio.gather(*(message.report() for _, message in sent))
    for (refusal, message), report in zip(sent, reports, strict=True):
        assert (Outcome.FAILED, refusal.failure_class, refusal.code, 1) == (
            report.outcome,
            report.failure_class,
            report.error_code,
            report.attempts,
        )
        assert message.dead_letter_handle.id == report.dead_letter_id
        assert [] == message.accepted()
        assert [(refusal.code, refusal.http_status)] == [
            (row["code"], row["http_status"]) for row in message.refused()
        ]
        if refusal.suppresses:
            assert DeadLetterOutcome.RECORDED is (await message.dead_letter_handle.result()).outcome
        dead_letter = await message.dead_letter()
        assert (DeadLetterOutcome.RECORDED if refusal.suppresses else OPEN) == dead_letter.status
        assert dead_letter.request.advice

    again = [await send(refusal) for refusal in _REFUSALS if refusal.suppresses]
    for message, report in zip(
        again, await asyncio.gather(*(each.report() for each in again)), strict=True
    ):
        assert (Outcome.SUPPRESSED, None) == (report.outcome, report.dead_letter_id)
        assert (0, 1) == (len(message.accepted()), len(message.refused()))


async def test_too_many_requests_are_retried(caller: Caller, new_number: NewNumber) -> None:
    """After two 429 responses the third POST is accepted: one message, delivered."""
    busy = {"respond": "error", "code": 20429, "http_status": 429}

    sent = await caller.send(new_number(), busy, busy)
    report = await sent.report()

    assert (Outcome.DELIVERED, 3, None) == (report.outcome, report.attempts, report.dead_letter_id)
    assert (1, 2) == (len(sent.accepted()), len(sent.refused()))


async def test_a_full_queue_is_waited_out(caller: Caller, new_number: NewNumber) -> None:
    """After 21611 the next attempt is at least a minute away; until then it can be canceled."""
    sent = await caller.send(new_number(), sender=_FULL_QUEUE_SENDER)

    progress = await sent.reaches(Stage.RETRYING)
    timers = events_of_type(await sent.events(), EventType.EVENT_TYPE_TIMER_STARTED)
    canceled = await sent.cancel()
    report = await sent.report()

    assert (21611, 1) == (progress.error_code, progress.attempts)
    wait = timers[-1].timer_started_event_attributes.start_to_fire_timeout.ToTimedelta()
    assert timedelta(seconds=60) <= wait <= timedelta(seconds=72)
    assert progress.until is not None
    assert timedelta(0) < progress.until - progress.since
    assert (True, Outcome.CANCELED) == (canceled.canceled, report.outcome)
    assert [21611] == [row["code"] for row in sent.refused()]
    assert [] == sent.accepted()


async def test_a_suppression_is_for_the_recipient_alone(
    stack: LocalStack, caller: Caller, new_number: NewNumber
) -> None:
    """A problem of the sender or the account (21606, 21408) suppresses no recipient."""
    to = new_number()
    refused = await caller.send(to, {"respond": "error", "code": 21408, "http_status": 400})
    misconfigured = await refused.report()
    wrong_sender = await (await caller.send(to, sender="+15005550007")).report()

    report = await (await caller.send(to)).report()

    assert [Outcome.FAILED, Outcome.FAILED, Outcome.DELIVERED] == [
        misconfigured.outcome,
        wrong_sender.outcome,
        report.outcome,
    ]
    assert 1 == len(stack.sandbox.ledger(to=to)["accepted"])
