import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from devtools.stack.local import LocalStack
from signedfor.contract import OPEN, DeadLetterOutcome, Outcome, Stage
from signedfor.contract.failures import FailureClass
from signedfor.store.database import open_engine
from signedfor.store.suppressions import Suppressions
from tests.fixtures.stack import NewNumber
from tests.integration.support import SERVICE, Caller

pytestmark = pytest.mark.integration


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A message that Twilio accepted and then reported as failed, and the expected result."""

    code: int
    failure_class: FailureClass
    final: str = "undelivered"
    sender: str | None = None
    suppresses: bool = False


_FAILURES = (
    Failure(code=30005, failure_class=FailureClass.RECIPIENT_UNREACHABLE, suppresses=True),
    Failure(code=30006, failure_class=FailureClass.RECIPIENT_UNREACHABLE, suppresses=True),
    Failure(code=30007, failure_class=FailureClass.CARRIER_FILTERED),
    Failure(code=30034, failure_class=FailureClass.SENDER_MISCONFIGURED),
    Failure(code=21408, failure_class=FailureClass.SENDER_MISCONFIGURED, sender=SERVICE),
    Failure(code=30008, failure_class=FailureClass.OUTCOME_UNKNOWN),
    Failure(code=30019, failure_class=FailureClass.CONTENT_REJECTED, final="failed"),
    Failure(code=39_999, failure_class=FailureClass.DELIVERY_FAILED, final="failed"),
    Failure(
        code=21610,
        failure_class=FailureClass.RECIPIENT_OPTED_OUT,
        final="failed",
        sender=SERVICE,
        suppresses=True,
    ),
)


async def test_the_code_of_a_failed_delivery_decides_the_outcome(
    stack: LocalStack, caller: Caller, new_number: NewNumber
) -> None:
    """Each class of failed delivery has its outcome, its dead letter and a single POST.

    What is the recipient's own (30005, 30006, and 21610, which a Messaging Service reports late)
    is recorded, and the next message is suppressed; the rest leaves the recipient alone.
    """

    def fields(failure: Failure) -> dict[str, Any]:
        return {"sender": failure.sender} if failure.sender else {}

    sent = [
        await caller.send(
            new_number(), {"final": each.final, "error_code": each.code}, **fields(each)
        )
        for each in _FAILURES
    ]
    reports = await asyncio.gather(*(each.report() for each in sent))
    for failure, message, report in zip(_FAILURES, sent, reports, strict=True):
        assert (Outcome.UNDELIVERED, failure.failure_class, failure.code) == (
            report.outcome,
            report.failure_class,
            report.error_code,
        )
        [row] = message.accepted()
        assert row["sid"] == report.message_sid
        if failure.suppresses:
            assert DeadLetterOutcome.RECORDED is (await message.dead_letter_handle.result()).outcome
        dead_letter = await message.dead_letter()
        assert (DeadLetterOutcome.RECORDED if failure.suppresses else OPEN) == dead_letter.status

    again = [
        await caller.send(each.to, **fields(f)) for f, each in zip(_FAILURES, sent, strict=True)
    ]
    reports = await asyncio.gather(*(each.report() for each in again))

    engine = open_engine(stack.settings["DATABASE_URL"], pool_size=1)
    for failure, message, report in zip(_FAILURES, again, reports, strict=True):
        expected = Outcome.SUPPRESSED if failure.suppresses else Outcome.DELIVERED
        assert (failure.code, expected) == (failure.code, report.outcome)
        assert (1 if failure.suppresses else 2) == len(message.accepted())
        records = Suppressions(engine).list_(recipient=message.to)
        assert failure.suppresses == bool(records)
        assert all(f"code {failure.code}" in each.evidence for each in records)
    engine.dispose()


async def test_a_message_to_a_handset_that_is_off_is_sent_again_later(
    stack: LocalStack, caller: Caller, new_number: NewNumber
) -> None:
    """After 30003 the message waits for hours and is sent again; nothing is suppressed."""
    sent = await caller.send(new_number(), {"final": "undelivered", "error_code": 30003})

    progress = await sent.reaches(Stage.DELAYED)
    other = await (await caller.send(sent.to)).report()
    canceled = await sent.cancel()
    report = await sent.report()

    assert 30003 == progress.error_code
    assert progress.until is not None
    assert timedelta(hours=4) == progress.until - progress.since
    assert Outcome.DELIVERED is other.outcome
    assert canceled.canceled
    assert (Outcome.CANCELED, 30003, None) == (
        report.outcome,
        report.error_code,
        report.dead_letter_id,
    )
    assert 2 == len(stack.sandbox.ledger(to=sent.to)["accepted"])
