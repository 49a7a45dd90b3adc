"""A loaded campaign in front of a real Temporal where nobody works."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Engine
from temporalio.client import Client, WorkflowExecution
from temporalio.service import RPCError
from temporalio.testing import ActivityEnvironment

from activities.campaigns import CampaignDispatcher
from signedfor.campaign_activities import CampaignKey, DispatchResult, messages_of
from signedfor.contract import (
    CampaignMessage,
    MessageRequest,
    campaign_message_id,
    message_workflow_id,
)
from signedfor.payloads import data_converter
from signedfor.store.campaigns import Campaigns
from signedfor.store.database import transaction
from signedfor.store.tables import campaign_rows
from signedfor.store.tables import campaigns as campaigns_table

SENDER = "+15005550006"
MESSAGE = CampaignMessage(sender=SENDER, body="Hi {name}", tenant="acme", tags={"year": "2026"})
SECRET = "Zoë-canary"


@dataclass
class FixedRates:
    """A sender whose time is given away so far."""

    reserved: timedelta = timedelta(0)
    segments_a_second: float = 100

    def backlog(self, sender: str) -> timedelta:
        """What it was told, for the campaign's sender."""
        assert sender == SENDER
        return self.reserved

    def rate(self, sender: str) -> float:
        """What it was told, for the campaign's sender."""
        assert sender == SENDER
        return self.segments_a_second


@dataclass(frozen=True, kw_only=True)
class LoadedCampaign:
    """A loaded campaign, and the activities against a real Temporal where nobody works."""

    campaign_id: str
    campaigns: Campaigns
    rates: FixedRates
    client: Client
    engine: Engine

    @property
    def dispatcher(self) -> CampaignDispatcher:
        """The activities."""
        return CampaignDispatcher(self.campaigns, self.rates, self.client)

    async def dispatch(self) -> DispatchResult:
        """Run the activity."""
        key = CampaignKey(campaign_id=self.campaign_id)
        return await ActivityEnvironment().run(self.dispatcher.dispatch_rows, key)

    def recorded(self) -> tuple[int, int]:
        """The last row that was result over and how many were left out, by the database."""
        record = self.campaigns.find(self.campaign_id)
        assert record is not None
        return record.last_row, record.skipped

    def reset_progress(self) -> None:
        """Let the database forget how far it came, as one from an older backup has."""
        with transaction(self.engine) as connection:
            connection.execute(campaigns_table.update().values(last_row=0, skipped=0))

    def forget(self, *, first: int, last: int) -> None:
        """Take these rows from the database, as nothing of ours does."""
        rows = campaign_rows.c
        with transaction(self.engine) as connection:
            connection.execute(
                campaign_rows.delete().where(
                    rows.campaign_id == self.campaign_id, rows.number.between(first, last)
                )
            )

    async def messages(self, *, count: int) -> dict[str, WorkflowExecution]:
        """Its messages by id, once the list holds so many."""
        found: dict[str, WorkflowExecution] = {}

        async def listed() -> bool:
            query = messages_of(self.campaign_id)
            found.clear()
            found.update({each.id: each async for each in self.client.list_workflows(query)})
            return len(found) >= count

        await until(listed)
        return found

    async def withdraw(self, row: int) -> None:
        """End the row's message, if it was result over and has not ended."""
        id_ = message_workflow_id(campaign_message_id(self.campaign_id, row))
        with contextlib.suppress(RPCError):
            await self.client.get_workflow_handle(id_).terminate()

    async def request(self, row: int) -> MessageRequest:
        """What the row's message was started with."""
        handle = self.client.get_workflow_handle(message_workflow_id(f"{self.campaign_id}:{row}"))
        history = await handle.fetch_history()
        payloads = history.events[0].workflow_execution_started_event_attributes.input.payloads
        (request,) = await data_converter.decode(payloads, [MessageRequest])
        assert isinstance(request, MessageRequest)
        return request


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what the server does."""
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110 - it is a server that is asked
            await asyncio.sleep(0.05)
