"""Campaigns on the whole system: every row is sent once, whatever is killed."""

import asyncio
import time
import uuid
from collections import Counter
from dataclasses import dataclass

import pytest
from temporalio.client import WorkflowHandle
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.service import RPCError, RPCStatusCode

from devtools.stack.local import LocalStack
from signedfor.contract import (
    CAMPAIGN,
    CANCEL_UPDATE,
    MESSAGES_QUEUE,
    PAUSE_UPDATE,
    RESUME_UPDATE,
    CampaignMessage,
    CampaignReport,
    CampaignState,
    Outcome,
    campaign_message_id,
    campaign_workflow_id,
    message_workflow_id,
)
from signedfor.search_attributes import CAMPAIGN_ID
from signedfor.store.campaigns import CampaignRow, Campaigns
from signedfor.store.database import open_engine
from signedfor.store.rate_limiter import RateLimiter
from tests.fixtures.stack import TEXT, NewNumber
from tests.integration.support import Caller, until, until_true

pytestmark = pytest.mark.integration

_MOST_IN_FLIGHT = 5
"""POSTs of one worker at one moment, at ten a second."""


@dataclass(frozen=True, kw_only=True)
class Started:
    """A campaign that was started on a stack."""

    campaign_id: str
    caller: Caller
    recipients: list[str]

    @property
    def handle(self) -> WorkflowHandle[object, CampaignReport]:
        """Its workflow."""
        return self.caller.client.get_workflow_handle(
            campaign_workflow_id(self.campaign_id), result_type=CampaignReport
        )

    async def start(self) -> None:
        """Start its workflow."""
        attributes = [SearchAttributePair(CAMPAIGN_ID, self.campaign_id)]
        await self.caller.client.start_workflow(
            CAMPAIGN,
            {},
            id=campaign_workflow_id(self.campaign_id),
            task_queue=MESSAGES_QUEUE,
            search_attributes=TypedSearchAttributes(attributes),
        )

    async def report(self) -> CampaignReport:
        """Its report, once it has ended."""
        async with asyncio.timeout(90):
            return await self.handle.result()

    async def is_dispatched(self, row: int) -> bool:
        """Whether the row's message has been started."""
        workflow_id = message_workflow_id(campaign_message_id(self.campaign_id, row))
        try:
            await self.caller.client.get_workflow_handle(workflow_id).describe()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return False
        return True

    def accepted(self) -> Counter[str]:
        """How often Twilio has accepted a message to each recipient."""
        mine = set(self.recipients)
        ledger = self.caller.stack.sandbox.ledger()["accepted"]
        return Counter(row["to"] for row in ledger if row["to"] in mine)


async def _start(caller: Caller, recipients: list[str], *, sender: str, rate: float) -> Started:
    """Load a campaign to these recipients, one segment each, and start it."""
    campaign_id = f"c-{uuid.uuid4().hex[:12]}"
    await asyncio.to_thread(_load, caller.stack, campaign_id, recipients, sender, rate)
    started = Started(campaign_id=campaign_id, caller=caller, recipients=recipients)
    await started.start()
    return started


def _load(
    stack: LocalStack, campaign_id: str, recipients: list[str], sender: str, rate: float
) -> None:
    engine = open_engine(stack.settings["DATABASE_URL"])
    RateLimiter(engine).set_rate(sender, rate)
    campaigns = Campaigns(engine)
    campaigns.create(campaign_id, CampaignMessage(sender=sender, body="{text}"))
    rows = [
        CampaignRow(number=number, to=to, fields={"text": TEXT}, segments=1)
        for number, to in enumerate(recipients, start=1)
    ]
    campaigns.add_rows(campaign_id, rows)
    campaigns.finish_loading(campaign_id, rows=len(rows), segments=len(rows))
    engine.dispose()


async def _continues(started: Started) -> None:
    """Return when Twilio has accepted one more."""
    before = started.accepted().total()
    await until_true(lambda: started.accepted().total() > before, "another message to be accepted")


async def _decide(started: Started, update: str) -> None:
    """Pause, resume or cancel it; the decision must be in force within five seconds."""
    began = time.monotonic()
    await started.handle.execute_update(update)
    assert time.monotonic() - began < 5


async def _is_silent(started: Started) -> bool:
    """Whether no POST starts; those in flight may end."""
    await asyncio.sleep(0.5)
    before = started.accepted().total()
    await asyncio.sleep(2)
    return before == started.accepted().total()


@pytest.mark.timeout(180)
async def test_killed_in_the_middle_of_a_page_paused_and_resumed(
    breakable_stack: LocalStack, brave_caller: Caller, new_number: NewNumber
) -> None:
    """Each of 60 rows is one message at Twilio, and none is sent while it is paused.

    Only what was about to be submitted when the worker was killed may be unconfirmed instead: bulk
    messages are not sent again on suspicion.
    """
    recipients = [new_number() for _ in range(60)]
    started = await _start(brave_caller, recipients, sender="+15005550010", rate=10)
    await until(lambda: started.is_dispatched(1), "the first row to be dispatched")

    breakable_stack.worker.kill()
    is_whole = await started.is_dispatched(60)
    breakable_stack.worker.start()
    await _continues(started)
    await _decide(started, PAUSE_UPDATE)
    is_silent, is_done = await _is_silent(started), started.accepted().total() == 60
    await _decide(started, RESUME_UPDATE)
    report = await started.report()

    assert (False, True, False) == (is_whole, is_silent, is_done)
    assert (CampaignState.FINISHED, 60) == (report.state, report.dispatched)
    unconfirmed, accepted = report.outcomes.get(Outcome.UNCONFIRMED, 0), started.accepted()
    assert 60 - unconfirmed == report.outcomes[Outcome.DELIVERED]
    assert unconfirmed <= _MOST_IN_FLIGHT
    assert (60 - unconfirmed, {1}) == (len(accepted), set(accepted.values()))


async def test_canceled(brave_caller: Caller, new_number: NewNumber) -> None:
    """After the answer nothing is submitted; recipients without a message by then get none.

    A minute of the sender's time is 120 rows, and a few seconds' more may follow before the cancel.
    """
    recipients = [new_number() for _ in range(200)]
    started = await _start(brave_caller, recipients, sender="+15005550011", rate=2)
    await _continues(started)
    await _decide(started, CANCEL_UPDATE)
    is_silent, accepted = await _is_silent(started), started.accepted().total()
    report = await started.report()
    dispatched = report.dispatched

    assert is_silent
    assert (CampaignState.CANCELED, 200) == (report.state, report.rows)
    assert 0 < accepted < dispatched < 200
    assert {
        Outcome.DELIVERED: accepted,
        Outcome.CANCELED: dispatched - accepted,
    } == report.outcomes
    assert accepted == started.accepted().total()
    assert [False, True] == [await started.is_dispatched(row) for row in (200, 1)]


@pytest.mark.timeout(180)
async def test_terminated_and_started_again(brave_caller: Caller, new_number: NewNumber) -> None:
    """It continues after the last dispatched row; each row is one message at Twilio."""
    recipients = [new_number() for _ in range(150)]
    started = await _start(brave_caller, recipients, sender="+15005550012", rate=8)
    await until(lambda: started.is_dispatched(20), "the first rows to be dispatched")
    await started.handle.terminate()
    await started.start()
    report = await started.report()

    assert (CampaignState.FINISHED, 150) == (report.state, report.dispatched)
    assert {Outcome.DELIVERED: 150} == report.outcomes
    assert (150, {1}) == (len(started.accepted()), set(started.accepted().values()))
