"""Jobs on many dead letters: finished, continued, stopped and canceled."""

import asyncio

from signedfor.dead_letter_activities import STOP_SIGNAL, JobStop
from tests.histories.recording import Handle
from tests.workflows.dead_letter_jobs import MAX_BATCH, FakeLetters, serving_job, start_job
from tests.workflows.fakes import Environment


async def _run(
    env: Environment, fake: FakeLetters, name: str, *, stopped: bool = False, canceled: bool = False
) -> Handle:
    async with serving_job(env.client, fake) as queue:
        job = await start_job(env.client, queue, selected=sum(fake.pages), job_id=name)
        if stopped or canceled:
            await fake.until_batches(1)
        if stopped:
            await job.signal(STOP_SIGNAL, JobStop(by="Ada"))
        if canceled:
            await job.cancel()
        await job.result()
    return job


async def dead_letter_job_finished(env: Environment) -> Handle:
    """Two pages, one of them in two batches."""
    return await _run(env, FakeLetters(pages=[MAX_BATCH + 5, 3], skip_of_batch=1), "finished")


async def dead_letter_job_continued(env: Environment) -> Handle:
    """So many pages that a second run does the last ones; that run is recorded."""
    return await _run(env, FakeLetters(pages=[1] * 22), "continued")


async def dead_letter_job_stopped(env: Environment) -> Handle:
    """Stopped while it is at a batch."""
    fake = FakeLetters(pages=[MAX_BATCH, 5], may_go_on=asyncio.Event())
    return await _run(env, fake, "stopped", stopped=True)


async def dead_letter_job_canceled_while_the_database_is_away(env: Environment) -> Handle:
    """Canceled with the button in the Temporal UI, while a batch is retried."""
    return await _run(env, FakeLetters(pages=[MAX_BATCH, 5], fails=True), "away", canceled=True)
