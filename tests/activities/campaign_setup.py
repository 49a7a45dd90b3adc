"""A loaded campaign and a real Temporal server that has no workers."""

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
    """A rate limiter with a given backlog and rate."""

    reserved: timedelta = timedelta(0)
    segments_per_second: float = 100

    def backlog(self, sender: str) -> timedelta:
        """The given backlog; only the campaign's sender may be asked for."""
        assert sender == SENDER
        return self.reserved

    def rate(self, sender: str) -> float:
        """The given rate; only the campaign's sender may be asked for."""
        assert sender == SENDER
        return self.segments_per_second


@dataclass(frozen=True, kw_only=True)
class LoadedCampaign:
    """A loaded campaign and its activities, on a real Temporal server that has no workers."""

    campaign_id: str
    campaigns: Campaigns
    rates: FixedRates
    client: Client
    engine: Engine

    @property
    def dispatcher(self) -> CampaignDispatcher:
        """The campaign activities."""
        return CampaignDispatcher(self.campaigns, self.rates, self.client)

    async def dispatch(self) -> DispatchResult:
        """Run the dispatch activity once."""
        key = CampaignKey(campaign_id=self.campaign_id)
        return await ActivityEnvironment().run(self.dispatcher.dispatch_rows, key)

    def recorded(self) -> tuple[int, int]:
        """The last dispatched row and the number of skipped rows in the database."""
        record = self.campaigns.find(self.campaign_id)
        assert record is not None
        return record.last_row, record.skipped

    def reset_progress(self) -> None:
        """Set the campaign's progress in the database back to zero, as an old backup would."""
        with transaction(self.engine) as connection:
            connection.execute(campaigns_table.update().values(last_row=0, skipped=0))

    def delete_rows(self, *, first: int, last: int) -> None:
        """Delete these rows from the database, which our own code never does."""
        rows = campaign_rows.c
        with transaction(self.engine) as connection:
            connection.execute(
                campaign_rows.delete().where(
                    rows.campaign_id == self.campaign_id, rows.number.between(first, last)
                )
            )

    async def messages(self, *, count: int) -> dict[str, WorkflowExecution]:
        """The campaign's messages by workflow id, once visibility lists `count` of them."""
        found: dict[str, WorkflowExecution] = {}

        async def listed() -> bool:
            query = messages_of(self.campaign_id)
            found.clear()
            found.update({each.id: each async for each in self.client.list_workflows(query)})
            return len(found) >= count

        await until(listed)
        return found

    async def terminate(self, row: int) -> None:
        """Terminate the row's message if it is running."""
        id_ = message_workflow_id(campaign_message_id(self.campaign_id, row))
        with contextlib.suppress(RPCError):
            await self.client.get_workflow_handle(id_).terminate()

    async def request(self, row: int) -> MessageRequest:
        """The request that the row's message was started with."""
        handle = self.client.get_workflow_handle(message_workflow_id(f"{self.campaign_id}:{row}"))
        history = await handle.fetch_history()
        payloads = history.events[0].workflow_execution_started_event_attributes.input.payloads
        (request,) = await data_converter.decode(payloads, [MessageRequest])
        assert isinstance(request, MessageRequest)
        return request


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until the condition, which asks the server, is true."""
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110 - it asks a server
            await asyncio.sleep(0.05)
