import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from devtools.sandbox.magic import GOOD_SENDER
from devtools.stack.local import LocalStack
from signedfor.consent import Reason
from signedfor.contract import MessageReport, Outcome, Stage
from signedfor.contract.failures import FailureClass
from signedfor.store.database import open_engine
from signedfor.store.inbound import CLOCK_MARGIN, InboundMessages
from signedfor.store.suppressions import Suppressions
from tests.fixtures.stack import NewNumber
from tests.integration.support import SERVICE, Caller

pytestmark = pytest.mark.integration

_BUSY = {"respond": "error", "code": 20429, "http_status": 429}


@pytest.fixture
def engine(stack: LocalStack) -> Iterator[Engine]:
    """The database of the shared stack."""
    engine = open_engine(stack.settings["DATABASE_URL"], pool_size=1)
    yield engine
    engine.dispose()


async def test_a_stop_holds_until_start(
    stack: LocalStack, caller: Caller, new_number: NewNumber
) -> None:
    """After STOP nothing is submitted from any sender; after START messages are again."""
    to = new_number()
    before = await (await caller.send(to)).report()

    stop = stack.sandbox.inbound(to, GOOD_SENDER, "Stop.")
    suppressed = await asyncio.gather(
        (await caller.send(to)).report(),
        (await caller.send(to, sender="+15005550010")).report(),
        (await caller.send(to, sender=SERVICE, priority="urgent")).report(),
    )
    posts = (
        len(stack.sandbox.ledger(to=to)["accepted"]),
        len(stack.sandbox.ledger(to=to)["refused"]),
    )
    await asyncio.sleep(CLOCK_MARGIN.total_seconds())  # sooner, and the STOP would count
    start = stack.sandbox.inbound(to, GOOD_SENDER, "START")
    after = await (await caller.send(to)).report()

    assert Outcome.DELIVERED is before.outcome
    for report in suppressed:
        _assert_suppressed(report)
    assert (1, 0) == posts
    for answer in (stop, start):
        assert (200, "text/xml; charset=utf-8") == (answer["http_status"], answer["content_type"])
        assert [] == answer["replies"]
    assert Outcome.DELIVERED is after.outcome


async def test_a_stop_reaches_messages_that_wait(
    stack: LocalStack, caller: Caller, new_number: NewNumber
) -> None:
    """A message sent before the STOP is suppressed, whether scheduled or between two retries."""
    soon = datetime.now(UTC) + timedelta(seconds=7)
    scheduled = await caller.send(new_number(), send_at=soon.isoformat())
    retried = await caller.send(new_number(), then=_BUSY)
    await scheduled.reaches(Stage.SCHEDULED)
    await retried.reaches(Stage.RETRYING)

    for each in (scheduled, retried):
        stack.sandbox.inbound(each.to, GOOD_SENDER, "STOP")
    stopped_at = time.time()
    reports = await asyncio.gather(scheduled.report(), retried.report())

    for report in reports:
        _assert_suppressed(report)
    assert [] == scheduled.accepted() + retried.accepted()
    assert [] == scheduled.refused()
    assert [] == [row for row in retried.refused() if row["at"] > stopped_at]
    assert soon <= reports[0].finished_at
    assert 0 == reports[0].attempts
    assert 3 <= reports[1].attempts <= 4


async def test_a_phrase_is_kept_for_review(
    stack: LocalStack, caller: Caller, engine: Engine, new_number: NewNumber
) -> None:
    """A STOP inside a phrase is stored for review, and suppresses marketing until then."""
    to, phrase = new_number(), "Please stop texting me, this is not my parcel"

    answer = stack.sandbox.inbound(to, GOOD_SENDER, phrase)
    report = await (await caller.send(to)).report()
    marketing = await (await caller.send(to, category="marketing")).report()
    [review] = [each for each in InboundMessages(engine).reviews() if each.from_ == to]

    assert (200, []) == (answer["http_status"], answer["replies"])
    assert (phrase, None) == (review.body, review.reviewed_at)
    assert [Reason.REVIEW] == [row.reason for row in Suppressions(engine).list_(recipient=to)]
    assert Outcome.DELIVERED is report.outcome
    assert (Outcome.SUPPRESSED, 0) == (marketing.outcome, marketing.attempts)
    assert "awaits review" in marketing.reason


async def test_a_stop_on_one_channel_holds_on_the_others(
    stack: LocalStack, caller: Caller, new_number: NewNumber
) -> None:
    """A person who texts STOP gets no WhatsApp message either."""
    to = new_number()

    stack.sandbox.inbound(to, GOOD_SENDER, "STOPALL")
    sent = await caller.send(f"whatsapp:{to}", sender=f"whatsapp:{GOOD_SENDER}")

    _assert_suppressed(await sent.report())
    assert [] == sent.accepted()


def _assert_suppressed(report: MessageReport) -> None:
    assert (Outcome.SUPPRESSED, FailureClass.RECIPIENT_OPTED_OUT) == (
        report.outcome,
        report.failure_class,
    )
    assert (None, None) == (report.message_sid, report.submitted_at)
