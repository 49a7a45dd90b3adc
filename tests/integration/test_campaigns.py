"""Campaigns on the whole system: every row once, whatever is killed."""

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
class Begun:
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
        """What became of it, when it has ended."""
        async with asyncio.timeout(90):
            return await self.handle.result()

    async def is_handed_over(self, row: int) -> bool:
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


async def _begin(caller: Caller, recipients: list[str], *, sender: str, rate: float) -> Begun:
    """Load a campaign to these recipients, one segment each, and start it."""
    campaign_id = f"c-{uuid.uuid4().hex[:12]}"
    await asyncio.to_thread(_load, caller.stack, campaign_id, recipients, sender, rate)
    begun = Begun(campaign_id=campaign_id, caller=caller, recipients=recipients)
    await begun.start()
    return begun


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


async def _goes_on(begun: Begun) -> None:
    """Return when Twilio has accepted one more."""
    before = begun.accepted().total()
    await until_true(lambda: begun.accepted().total() > before, "another message to be accepted")


async def _decide(begun: Begun, update: str) -> None:
    """Pause, resume or cancel it; what was decided must hold within five seconds."""
    began = time.monotonic()
    await begun.handle.execute_update(update)
    assert time.monotonic() - began < 5


async def _is_silent(begun: Begun) -> bool:
    """Whether no POST begins; what is in flight when it is asked may end."""
    await asyncio.sleep(0.5)
    before = begun.accepted().total()
    await asyncio.sleep(2)
    return before == begun.accepted().total()


@pytest.mark.timeout(180)
async def test_killed_in_the_middle_of_a_page_paused_and_resumed(
    breakable_stack: LocalStack, brave_caller: Caller, new_number: NewNumber
) -> None:
    """Each of 60 rows is one message at Twilio, and while it is paused there is none.

    Only what was about to be submitted when the worker was killed may be parked instead: bulk
    messages are not sent again on suspicion.
    """
    recipients = [new_number() for _ in range(60)]
    begun = await _begin(brave_caller, recipients, sender="+15005550010", rate=10)
    await until(lambda: begun.is_handed_over(1), "the first row to be handed over")

    breakable_stack.worker.kill()
    is_whole = await begun.is_handed_over(60)
    breakable_stack.worker.start()
    await _goes_on(begun)
    await _decide(begun, PAUSE_UPDATE)
    is_silent, is_done = await _is_silent(begun), begun.accepted().total() == 60
    await _decide(begun, RESUME_UPDATE)
    report = await begun.report()

    assert (False, True, False) == (is_whole, is_silent, is_done)
    assert (CampaignState.FINISHED, 60) == (report.state, report.dispatched)
    parked, accepted = report.outcomes.get(Outcome.UNCONFIRMED, 0), begun.accepted()
    assert 60 - parked == report.outcomes[Outcome.DELIVERED]
    assert parked <= _MOST_IN_FLIGHT
    assert (60 - parked, {1}) == (len(accepted), set(accepted.values()))


async def test_canceled(brave_caller: Caller, new_number: NewNumber) -> None:
    """From the answer on nothing is submitted; who had no message by then gets none.

    A minute of the sender's time is 120 rows, and a few seconds' more may follow before the cancel.
    """
    recipients = [new_number() for _ in range(200)]
    begun = await _begin(brave_caller, recipients, sender="+15005550011", rate=2)
    await _goes_on(begun)
    await _decide(begun, CANCEL_UPDATE)
    is_silent, accepted = await _is_silent(begun), begun.accepted().total()
    report = await begun.report()
    dispatched = report.dispatched

    assert is_silent
    assert (CampaignState.CANCELED, 200) == (report.state, report.rows)
    assert 0 < accepted < dispatched < 200
    assert {
        Outcome.DELIVERED: accepted,
        Outcome.CANCELED: dispatched - accepted,
    } == report.outcomes
    assert accepted == begun.accepted().total()
    assert [False, True] == [await begun.is_handed_over(row) for row in (200, 1)]


@pytest.mark.timeout(180)
async def test_terminated_and_started_again(brave_caller: Caller, new_number: NewNumber) -> None:
    """It goes on after the last row that was handed over; each row is one message at Twilio."""
    recipients = [new_number() for _ in range(150)]
    begun = await _begin(brave_caller, recipients, sender="+15005550012", rate=8)
    await until(lambda: begun.is_handed_over(20), "the first rows to be handed over")
    await begun.handle.terminate()
    await begun.start()
    report = await begun.report()

    assert (CampaignState.FINISHED, 150) == (report.state, report.dispatched)
    assert {Outcome.DELIVERED: 150} == report.outcomes
    assert (150, {1}) == (len(begun.accepted()), set(begun.accepted().values()))
