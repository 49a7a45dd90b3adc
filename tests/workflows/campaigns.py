"""Fake activities for the campaign workflow: a scripted database and visibility."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.common import Priority
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from signedfor.campaign_activities import (
    NO_SUCH_CAMPAIGN,
    CampaignActivities,
    CampaignKey,
    CampaignStatus,
    CountRequest,
    DispatchResult,
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
from signedfor.interceptors import OneArgument
from workflows.campaign import Campaign

ENDED = (CampaignState.CANCELED, CampaignState.FINISHED)


@dataclass
class FakeCampaign(CampaignActivities):
    """What the database and visibility will answer, and what was dispatched."""

    rows: int | None = 5
    """None: there is no such campaign."""
    page: int = 2
    next_in: timedelta = timedelta(0)
    without_message: int = 0
    """Rows per page that cannot be turned into a message."""
    last_row: int = 0
    skipped: int = 0
    running: list[int] = field(default_factory=list)
    """How many messages each count finds running; zero once the script has run out."""
    missing: int = 0
    """How many messages are missing from visibility."""
    cannot_be_opened: bool = False
    """Its rows have not been loaded, or the database is unavailable."""
    write_fails: int = 0
    silent_after: int = 0
    """After dispatching this row, the activity does not return until `may_answer` is set."""
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    state: CampaignState = CampaignState.RUNNING
    since: datetime = datetime(2026, 11, 21, tzinfo=UTC)
    dispatched: list[int] = field(default_factory=list)
    pages: int = 0
    """How many times `dispatch_rows` was called."""
    counts: int = 0

    @activity.defn
    def open_campaign(self, key: CampaignKey) -> CampaignStatus:  # noqa: ARG002 - the interface
        """The campaign's status."""
        if self.cannot_be_opened:
            raise ApplicationError("Not yet.", type="CampaignLoading")
        return self.status()

    @activity.defn
    def set_campaign_state(self, change: StateChange) -> CampaignStatus:
        """Write the state by the database's rules: an ended campaign and a newer state win."""
        if self.write_fails:
            self.write_fails -= 1
            raise ApplicationError("The database is unavailable.", type="DatabaseUnavailable")
        if self.state not in ENDED and change.since > self.since:
            self.state, self.since = change.state, change.since
        return self.status()

    @activity.defn
    async def dispatch_rows(self, key: CampaignKey) -> DispatchResult:  # noqa: ARG002 - the interface
        """Dispatch a page; the result has the state from before the page."""
        self.pages += 1
        found = self.status()
        if self.state is CampaignState.RUNNING:
            first, self.last_row = self.last_row + 1, min(self.last_row + self.page, found.rows)
            self.skipped += self.without_message
            self.dispatched += range(first, self.last_row + 1)
        progress = {"last_row": self.last_row, "skipped": self.skipped}
        if self.last_row == self.silent_after:
            await self.may_answer.wait()
        return DispatchResult(status=found.model_copy(update=progress), next_in=self.next_in)

    @activity.defn
    async def count_messages(self, request: CountRequest) -> MessageCounts:
        """What visibility lists at this count."""
        assert self.last_row == request.last_row
        self.counts += 1
        running = self.running.pop(0) if self.running else 0
        return MessageCounts(running=running, ended=len(self.dispatched) - running - self.missing)

    @activity.defn
    async def count_outcomes(self, key: CampaignKey) -> OutcomeCounts:  # noqa: ARG002 - the interface
        """Every message was delivered."""
        return OutcomeCounts(outcomes={Outcome.DELIVERED: len(self.dispatched)})

    def status(self) -> CampaignStatus:
        """The campaign's status."""
        if self.rows is None:
            raise ApplicationError(
                "There is no campaign.", type=NO_SUCH_CAMPAIGN, non_retryable=True
            )
        return CampaignStatus(
            state=self.state,
            since=self.since,
            rows=self.rows,
            last_row=self.last_row,
            skipped=self.skipped,
        )

    async def until_dispatched(self, row: int) -> None:
        """Wait, in real time, until this row has been dispatched."""
        async with asyncio.timeout(30):
            while row not in self.dispatched:  # noqa: ASYNC110 - a worker dispatches it
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def serving_campaign(
    client: Client, fake: FakeCampaign, *, queue: str | None = None
) -> AsyncIterator[str]:
    """A worker for one campaign on a task queue of its own; yields the queue's name."""
    queue = queue or f"campaign-{uuid.uuid4().hex}"
    with ThreadPoolExecutor(8) as threads:
        async with Worker(
            client,
            task_queue=queue,
            activity_executor=threads,
            workflows=[Campaign],
            activities=[
                fake.open_campaign,
                fake.set_campaign_state,
                fake.dispatch_rows,
                fake.count_messages,
                fake.count_outcomes,
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
    """Start a campaign as any client would: plain JSON, by name."""
    return await client.start_workflow(
        CAMPAIGN,
        args=[{}] if args is None else args,
        id=workflow_id or campaign_workflow_id(f"c-{uuid.uuid4().hex[:12]}"),
        task_queue=queue,
        result_type=CampaignReport,
        priority=priority,
    )
