"""A job's workflow: batch by batch, stopped, continued as new; the activities are scripted."""

import asyncio

import pytest
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client

from signedfor.contract import PROGRESS_QUERY
from signedfor.dead_letter_activities import STOP_SIGNAL, JobProgress, JobState, JobStop, Skipped
from tests.workflows.dead_letter_jobs import MAX_BATCH, FakeLetters, serving_job, start_job


async def test_it_comes_to_each_once_in_batches(temporal: Client) -> None:
    """Every page in batches; the decision names the job; skipped ones are counted."""
    fake = FakeLetters(pages=[30, 0, 3], skip_of_batch=1)
    async with serving_job(temporal, fake) as queue:
        job = await start_job(temporal, queue, selected=33)
        done = await job.result()
        metadata = await job.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)

    assert [25, 5, 3] == [len(batch.message_ids) for batch in fake.batches]
    assert 33 == len({each for batch in fake.batches for each in batch.message_ids})
    assert {("retry", "ops", "job")} == {
        (batch.resolution.action, batch.resolution.by, batch.resolution.job_id)
        for batch in fake.batches
    }
    assert (JobState.FINISHED, 30, {Skipped.EXPIRED: 3}, 33) == (
        done.state,
        done.tally.resolved,
        done.tally.skipped,
        done.tally.done,
    )
    assert done.ended_at is not None
    assert "**finished**: 33 of 33 dead letters" in metadata.current_details


async def test_its_progress_can_be_queried(temporal: Client) -> None:
    """While it works, it says how far it is and how to stop it."""
    fake = FakeLetters(pages=[MAX_BATCH, 1], may_go_on=asyncio.Event())
    async with serving_job(temporal, fake) as queue:
        job = await start_job(temporal, queue, selected=26)
        await fake.until_batches(1)
        progress = await _until_done(job, MAX_BATCH)
        metadata = await job.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
        assert fake.may_go_on is not None
        fake.may_go_on.set()
        done = await job.result()

    assert (JobState.RUNNING, MAX_BATCH, None) == (
        progress.state,
        progress.tally.resolved,
        progress.ended_at,
    )
    assert "signedfor dead-letters stop job" in metadata.current_details
    assert 26 == done.tally.resolved


@pytest.mark.parametrize("by_temporal", [False, True])
@pytest.mark.parametrize("database_is_away", [False, True])
async def test_it_can_always_be_stopped(
    temporal: Client, *, by_temporal: bool, database_is_away: bool
) -> None:
    """In the middle of a batch, and while one is retried because the database is unavailable."""
    fake = FakeLetters(pages=[MAX_BATCH, 5], may_go_on=asyncio.Event(), fails=database_is_away)
    async with serving_job(temporal, fake) as queue:
        job = await start_job(temporal, queue, selected=30)
        await _until_done(job, MAX_BATCH)
        if by_temporal:
            await job.cancel()
        else:
            await job.signal(STOP_SIGNAL, JobStop(by="Ada"))
        done = await job.result()

    assert (JobState.STOPPED, MAX_BATCH, None if by_temporal else "Ada") == (
        done.state,
        done.tally.done,
        done.stopped_by,
    )
    assert 1 == len(fake.batches)


async def test_stopped_it_counts_what_a_lost_worker_did(temporal: Client) -> None:
    """Its last batch has no result, but some of its dead letters are resolved."""
    fake = FakeLetters(pages=[MAX_BATCH, 5], fails=True, lost=3)
    async with serving_job(temporal, fake) as queue:
        job = await start_job(temporal, queue, selected=30)
        await fake.until_failures(1)
        await job.signal(STOP_SIGNAL, JobStop())
        done = await job.result()

    assert (JobState.STOPPED, MAX_BATCH + 3) == (done.state, done.tally.resolved)
    assert [5] == [len(each.message_ids) for each in fake.counts]


async def test_a_long_one_continues_as_new(temporal: Client) -> None:
    """The counts and the start go on, and its history stays short."""
    fake = FakeLetters(pages=[1] * 45)
    async with serving_job(temporal, fake) as queue:
        job = await start_job(temporal, queue, selected=45)
        first = await job.query(PROGRESS_QUERY, result_type=JobProgress)
        done = await job.result()
        last = await temporal.get_workflow_handle(job.id).describe()

    assert job.first_execution_run_id != last.run_id
    assert last.history_length < 200
    assert (45, first.started_at) == (done.tally.resolved, done.started_at)


async def _until_done(job: object, count: int) -> JobProgress:
    async with asyncio.timeout(30):
        while True:
            progress: JobProgress = await job.query(  # type: ignore[attr-defined]
                PROGRESS_QUERY, result_type=JobProgress
            )
            if progress.tally.done >= count:
                return progress
            await asyncio.sleep(0.05)
