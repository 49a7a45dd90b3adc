"""A scripted database and list of messages behind the campaign workflow."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.common import Priority
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from signedfor.campaign_steps import (
    COUNT_MESSAGES,
    COUNT_OUTCOMES,
    HAND_OVER,
    NO_SUCH_CAMPAIGN,
    OPEN_CAMPAIGN,
    SET_CAMPAIGN_STATE,
    CampaignKey,
    CampaignStanding,
    CountRequest,
    HandOver,
    MessageCounts,
    OutcomeCounts,
    StateChange,
)
from signedfor.contract import (
    CAMPAIGN,
    MESSAGES_QUEUE,
    CampaignReport,
    CampaignState,
    Outcome,
    campaign_workflow_id,
)
from workflows.campaign import Campaign
from workflows.inputs import OneArgument

ENDED = (CampaignState.CANCELED, CampaignState.FINISHED)


@dataclass
class Feed:
    """What the database and Temporal's list will say, and what they were asked."""

    rows: int | None = 5
    """None: there is no such campaign."""
    page: int = 2
    come_again: timedelta = timedelta(0)
    without_message: int = 0
    """Rows a page of which no message can be made."""
    last_row: int = 0
    skipped: int = 0
    running: list[int] = field(default_factory=list)
    """How many messages run, look by look; none once the script is over."""
    missing: int = 0
    """How many messages the list does not know."""
    cannot_be_opened: bool = False
    """Its rows are not loaded, or the database is away for now."""
    write_fails: int = 0
    silent_after: int = 0
    """When this row is handed over, the activity does not say so until it `may_answer`."""
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    state: CampaignState = CampaignState.RUNNING
    since: datetime = datetime(2026, 11, 21, tzinfo=UTC)
    handed: list[int] = field(default_factory=list)
    pages: int = 0
    """How often rows were to be handed over."""
    looks: int = 0

    @activity.defn(name=OPEN_CAMPAIGN)
    async def open_campaign(self, _: CampaignKey) -> CampaignStanding:
        """How it stands."""
        if self.cannot_be_opened:
            raise ApplicationError("Not yet.", type="CampaignLoading")
        return self.standing()

    @activity.defn(name=SET_CAMPAIGN_STATE)
    async def set_campaign_state(self, change: StateChange) -> CampaignStanding:
        """Write it, by the database's rules."""
        if self.write_fails:
            self.write_fails -= 1
            raise ApplicationError("It cannot be written.", type="DatabaseUnavailable")
        if self.state not in ENDED and change.since > self.since:
            self.state, self.since = change.state, change.since
        return self.standing()

    @activity.defn(name=HAND_OVER)
    async def hand_over(self, _: CampaignKey) -> HandOver:
        """A page; the answer has the state in which it found the campaign."""
        self.pages += 1
        found = self.standing()
        if self.state is CampaignState.RUNNING:
            first, self.last_row = self.last_row + 1, min(self.last_row + self.page, found.rows)
            self.skipped += self.without_message
            self.handed += range(first, self.last_row + 1)
        come = {"last_row": self.last_row, "skipped": self.skipped}
        if self.last_row == self.silent_after:
            await self.may_answer.wait()
        return HandOver(standing=found.model_copy(update=come), come_again=self.come_again)

    @activity.defn(name=COUNT_MESSAGES)
    async def count_messages(self, request: CountRequest) -> MessageCounts:
        """What the list says now."""
        assert self.last_row == request.last_row
        self.looks += 1
        running = self.running.pop(0) if self.running else 0
        return MessageCounts(running=running, ended=len(self.handed) - running - self.missing)

    @activity.defn(name=COUNT_OUTCOMES)
    async def count_outcomes(self, _: CampaignKey) -> OutcomeCounts:
        """All delivered."""
        return OutcomeCounts(outcomes={Outcome.DELIVERED: len(self.handed)})

    def standing(self) -> CampaignStanding:
        """How it stands."""
        if self.rows is None:
            raise ApplicationError(
                "There is no campaign.", type=NO_SUCH_CAMPAIGN, non_retryable=True
            )
        return CampaignStanding(
            state=self.state,
            since=self.since,
            rows=self.rows,
            last_row=self.last_row,
            skipped=self.skipped,
        )

    async def until_handed(self, row: int) -> None:
        """Wait, in real time, until this row has been handed over."""
        async with asyncio.timeout(30):
            while row not in self.handed:  # noqa: ASYNC110 - a worker hands it over
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def serving_campaign(
    client: Client, feed: Feed, *, queue: str | None = None
) -> AsyncIterator[str]:
    """A worker for one campaign, on a queue of its own, which is given."""
    queue = queue or f"campaign-{uuid.uuid4().hex}"
    async with Worker(
        client,
        task_queue=queue,
        workflows=[Campaign],
        activities=[
            feed.open_campaign,
            feed.set_campaign_state,
            feed.hand_over,
            feed.count_messages,
            feed.count_outcomes,
        ],
        interceptors=[OneArgument()],
    ):
        yield queue


async def start_campaign(
    client: Client,
    queue: str = MESSAGES_QUEUE,
    *,
    args: Any = None,
    workflow_id: str | None = None,
    priority: Priority = Priority.default,
) -> WorkflowHandle[Any, CampaignReport]:
    """Start it as any client would: plain JSON, by name."""
    return await client.start_workflow(
        CAMPAIGN,
        args=[{}] if args is None else args,
        id=workflow_id or campaign_workflow_id(f"c-{uuid.uuid4().hex[:12]}"),
        task_queue=queue,
        result_type=CampaignReport,
        priority=priority,
    )
