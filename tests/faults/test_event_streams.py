"""Event Streams close what the callbacks have lost."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType

from devtools.sandbox.magic import GOOD_SENDER
from devtools.stack.local import LocalStack
from signedfor.contract import EVENTS_PATH, OPEN, DeadLetterOutcome, Outcome
from signedfor.store.database import open_engine
from signedfor.store.suppressions import Suppressions
from tests.fixtures.stack import NewNumber, silent_stack
from tests.integration.support import Caller, events_of_type, until, until_true

pytestmark = pytest.mark.integration

_LOST = {"callbacks": {"lost": True}}


@pytest.fixture(scope="module")
def event_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A stack with a sink, which finds lost receipts and messages in no other way in time."""
    with silent_stack(
        tmp_path_factory.mktemp("event-stack"),
        EVENT_STREAMS="true",
        RECEIPT_CHECKS_SECONDS="3600",
        INBOUND_CATCH_UP_MINUTES="0",
    ) as stack:
        yield stack


@pytest.fixture
async def caller(event_stack: LocalStack) -> AsyncIterator[Caller]:
    """A caller, whose messages' events reach the webhook late, twice and newest first."""
    event_stack.sandbox.settings(
        events_url=event_stack.webhook_url + EVENTS_PATH,
        events_collected_for=1,
        events_copies=2,
        events_newest_first=True,
    )
    yield Caller(stack=event_stack, client=await event_stack.client())
    event_stack.sandbox.reset()


async def _all_posted(stack: LocalStack) -> None:
    await until_true(lambda: stack.sandbox.events()["pending"] == 0, "all events to be delivered")


async def test_receipts_arrive_although_every_callback_is_lost(
    caller: Caller, new_number: NewNumber
) -> None:
    """Each of 60 messages ends once, as Twilio says, and no event was refused."""
    steps: list[tuple[dict[str, Any], Outcome]] = [
        ({"final": "delivered"}, Outcome.DELIVERED),
        ({"final": "undelivered", "error_code": 30005}, Outcome.UNDELIVERED),
        ({"final": "failed", "error_code": 30007}, Outcome.UNDELIVERED),
        ({"final": "read"}, Outcome.DELIVERED),
    ] * 15
    sent = [await caller.send(new_number(), {**_LOST, **step}) for step, _ in steps]

    reports = await asyncio.gather(*(each.report() for each in sent))
    await _all_posted(caller.stack)

    assert [outcome for _, outcome in steps] == [report.outcome for report in reports]
    assert [1] * len(sent) == [len(each.accepted()) for each in sent]
    assert [[]] * len(sent) == [each.callbacks() for each in sent]
    assert reports == await asyncio.gather(*(each.report() for each in sent))
    assert 0 == caller.stack.sandbox.events().get("dropped", 0)
    ends = [
        events_of_type(await each.events(), EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED)
        for each in sent
    ]
    assert [1] * len(sent) == [len(each) for each in ends]


async def test_callbacks_and_events_of_a_message_do_not_disturb_each_other(
    caller: Caller, new_number: NewNumber
) -> None:
    """The first final status decides; what comes later finds the workflow closed."""
    sent = [await caller.send(new_number()) for _ in range(20)]

    reports = await asyncio.gather(*(each.report() for each in sent))
    await _all_posted(caller.stack)

    assert [Outcome.DELIVERED] * 20 == [report.outcome for report in reports]
    assert reports == await asyncio.gather(*(each.report() for each in sent))
    assert [1] * 20 == [len(each.accepted()) for each in sent]


async def test_a_late_event_closes_the_dead_letter(caller: Caller, new_number: NewNumber) -> None:
    """A message without a receipt in time is resolved by the event."""
    caller.stack.sandbox.settings(delivered_after=5)
    sent = await caller.send(new_number(), _LOST, receipt_timeout_seconds=1)
    await sent.report()
    assert OPEN == (await sent.dead_letter()).status

    async def closed() -> bool:
        return (await sent.dead_letter()).status == DeadLetterOutcome.DELIVERED_LATE

    await until(closed, "the dead letter to be closed")
    assert 1 == len(sent.accepted())


async def test_an_opt_out_that_only_an_event_reports_is_in_force(
    caller: Caller, new_number: NewNumber
) -> None:
    """Nobody is sent to once the sink has answered; the same for a reassigned number."""
    sandbox = caller.stack.sandbox
    sandbox.settings(inbound_url=None)
    stopped, reassigned, writes = [new_number() for _ in range(3)]
    for person, body in ((stopped, "STOP"), (writes, "hello")):
        await asyncio.to_thread(sandbox.inbound, person, GOOD_SENDER, body)
    sandbox.reassigned(reassigned, sender=GOOD_SENDER)
    sandbox.clear_opt_outs()  # or else Twilio would refuse the messages itself
    await _all_posted(caller.stack)

    sent = [await caller.send(each) for each in (stopped, reassigned, writes)]
    reports = await asyncio.gather(*(each.report() for each in sent))

    assert [Outcome.SUPPRESSED, Outcome.SUPPRESSED, Outcome.DELIVERED] == [
        report.outcome for report in reports
    ]
    assert [0, 0, 1] == [len(each.accepted()) for each in sent]


async def test_events_wait_while_nothing_can_store_them(
    tmp_path: Path, new_number: NewNumber
) -> None:
    """While the webhook is down, and while Temporal is, no event is lost."""
    with silent_stack(
        tmp_path,
        EVENT_STREAMS="true",
        RECEIPT_CHECKS_SECONDS="3600",
        INBOUND_CATCH_UP_MINUTES="0",
    ) as stack:
        stack.sandbox.settings(
            events_url=stack.webhook_url + EVENTS_PATH, inbound_url=None, delivered_after=1
        )
        caller = Caller(stack=stack, client=await stack.client())
        stack.webhook.kill()
        sent = await caller.send(new_number(), _LOST)
        await sent.reaches("awaiting_receipt")
        person = new_number()
        await asyncio.to_thread(stack.sandbox.inbound, person, GOOD_SENDER, "STOP")
        await until_true(
            lambda: stack.sandbox.events().get("ct", 0) > 2, "the sink to be unreachable"
        )
        stack.webhook.start()
        report = await sent.report()
        await _all_posted(stack)
        engine = open_engine(stack.settings["DATABASE_URL"])
        stopped = Suppressions(engine).list_(recipient=person)
        engine.dispose()

    assert (Outcome.DELIVERED, 1) == (report.outcome, len(stopped))
