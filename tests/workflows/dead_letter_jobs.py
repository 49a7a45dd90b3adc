"""A job on many dead letters, with scripted activities and a worker of its own."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from devtools.workflow_sandbox import sandboxed_runner
from signedfor.contract import Resolution
from signedfor.dead_letter_activities import (
    DEAD_LETTER_JOB,
    Batch,
    DeadLetterActivities,
    JobProgress,
    JobRequest,
    Page,
    PageRequest,
    Selection,
    Skipped,
    Tally,
    job_workflow_id,
)
from signedfor.interceptors import OneArgument
from workflows.dead_letter_job import DeadLetterJob

_OPENED = datetime(2026, 11, 1, tzinfo=UTC)
MAX_BATCH = 25


@dataclass(kw_only=True)
class FakeLetters(DeadLetterActivities):
    """Dead letters by page, and what a job asked to be done with them."""

    pages: list[int]
    """How many there are on each page."""
    skip_of_batch: int = 0
    """How many of each batch have expired."""
    may_go_on: asyncio.Event | None = None
    """Batches after the first are held until this is set, or they are canceled."""
    fails: bool = False
    """The database does not answer after the first batch."""
    batches: list[Batch] = field(default_factory=list)
    failures: int = 0
    lost: int = 0
    """How many an attempt resolved that never reported back."""
    counts: list[Batch] = field(default_factory=list)

    @activity.defn
    async def select_dead_letters(self, request: PageRequest) -> Page:
        """The next page; its token is its number."""
        number = int(request.page_token or b"0")
        has_more = number + 1 < len(self.pages)
        return Page(
            message_ids=tuple(f"m{number}-{n}" for n in range(self.pages[number])),
            next_page_token=str(number + 1).encode() if has_more else b"",
        )

    @activity.defn
    async def resolve_dead_letters(self, batch: Batch) -> Tally:
        """Resolve all; canceled while it is held, none."""
        if self.batches and self.fails:
            self.failures += 1
            raise ApplicationError("The database does not answer.", type="DatabaseUnavailable")
        if self.batches and self.may_go_on is not None:
            waiting = asyncio.create_task(self.may_go_on.wait())
            try:
                while not waiting.done():
                    activity.heartbeat()
                    await asyncio.wait({waiting}, timeout=0.1)
            except asyncio.CancelledError:
                waiting.cancel()
                return Tally()
        self.batches.append(batch)
        return Tally(
            resolved=len(batch.message_ids) - self.skip_of_batch,
            skipped={Skipped.EXPIRED: self.skip_of_batch} if self.skip_of_batch else {},
        )

    @activity.defn
    async def count_resolved(self, batch: Batch) -> Tally:
        """What a lost worker has resolved."""
        self.counts.append(batch)
        return Tally(resolved=self.lost)

    async def until_batches(self, count: int) -> None:
        """Wait until so many are done."""
        async with asyncio.timeout(30):
            while len(self.batches) < count:  # noqa: ASYNC110 - nothing signals it
                await asyncio.sleep(0.02)

    async def until_failures(self, count: int) -> None:
        """Wait until so many attempts have failed."""
        async with asyncio.timeout(30):
            while self.failures < count:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def serving_job(client: Client, fake: FakeLetters) -> AsyncIterator[str]:
    """A worker with these activities; its task queue."""
    queue = f"jobs-{uuid.uuid4().hex}"
    async with Worker(
        client,
        task_queue=queue,
        workflows=[DeadLetterJob],
        activities=[fake.select_dead_letters, fake.resolve_dead_letters, fake.count_resolved],
        interceptors=[OneArgument()],
        workflow_runner=sandboxed_runner(),
    ):
        yield queue


async def start_job(
    client: Client, queue: str, *, selected: int, job_id: str = "job"
) -> WorkflowHandle[Any, JobProgress]:
    """Start a job that retries so many."""
    request = JobRequest(
        resolution=Resolution(action="retry", by="ops"),
        selection=Selection(clause="Tenant = 'acme'", opened_from=_OPENED, opened_until=_OPENED),
        selected=selected,
    )
    return await client.start_workflow(
        DEAD_LETTER_JOB,
        request,
        id=job_workflow_id(job_id),
        task_queue=queue,
        result_type=JobProgress,
    )
