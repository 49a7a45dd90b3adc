"""One decision about many dead letters: a preview of it, and the job that carries it out.

The command line and the operations page call these functions.
"""

import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from signedfor.contract import (
    MESSAGES_QUEUE,
    PROGRESS_QUERY,
)
from signedfor.dead_letter_activities import (
    DEAD_LETTER_JOB,
    STOP_SIGNAL,
    JobProgress,
    JobRequest,
    JobState,
    JobStop,
    job_id_of,
    job_workflow_id,
)
from signedfor.dead_letters import (
    ANSWER_SECONDS,
)
from signedfor.errors import NotFound, Unavailable
from signedfor.masks import named
from signedfor.workflow_calls import (
    NO_WORKER,
    RPC_TIMEOUT,
    describe,
    is_no_worker,
    is_workflow_missing,
)


def new_job_id() -> str:
    """An id for a job. A form that carries it starts one job, however often it is sent."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


async def start(temporal: Client, job: JobRequest, *, job_id: str) -> bool:
    """Start the job of a preview. Once this returns, no crash loses it.

    False if a job with this id was started before: then nothing happens.
    """
    try:
        await temporal.start_workflow(
            DEAD_LETTER_JOB,
            job,
            id=job_workflow_id(job_id),
            task_queue=MESSAGES_QUEUE,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            static_summary=f"{job.resolution.action} {job.selected} dead letters",
            rpc_timeout=RPC_TIMEOUT,
        )
    except WorkflowAlreadyStartedError:
        return False
    return True


async def progress(temporal: Client, job_id: str, *, within: float = ANSWER_SECONDS) -> JobProgress:
    """How far the job is, or how it ended.

    Raises:
        NotFound: there is no such job, or Temporal has deleted it.
        Unavailable: no worker answered.
        RPCError: Temporal did not answer.
    """
    handle = _handle(temporal, job_id)
    try:
        description = await handle.describe(rpc_timeout=RPC_TIMEOUT)
        if description.status is WorkflowExecutionStatus.COMPLETED:
            return await handle.result(rpc_timeout=RPC_TIMEOUT)
        known: JobProgress = await handle.query(
            PROGRESS_QUERY, result_type=JobProgress, rpc_timeout=timedelta(seconds=within)
        )
    except RPCError as error:
        if is_no_worker(error):
            raise Unavailable(NO_WORKER) from None
        if is_workflow_missing(error):
            raise _not_found(job_id) from None
        raise
    if description.status is WorkflowExecutionStatus.RUNNING or known.is_over:
        return known
    # It was terminated: its own code has not run since, and nothing more happens.
    ended_at = description.close_time or datetime.now(UTC)
    return known.model_copy(update={"state": JobState.STOPPED, "ended_at": ended_at})


async def require(temporal: Client, job_id: str) -> None:
    """Return if there is such a job.

    Raises:
        NotFound: there is none, or Temporal has deleted it.
        RPCError: Temporal did not answer.
    """
    if await describe(_handle(temporal, job_id)) is None:
        raise _not_found(job_id)


async def stop(temporal: Client, job_id: str, *, by: str | None = None) -> None:
    """Stop the job after the dead letters that it is at. The others stay as they are.

    Raises:
        NotFound: there is no such job that runs.
        RPCError: Temporal did not answer.
    """
    try:
        await _handle(temporal, job_id).signal(STOP_SIGNAL, JobStop(by=by), rpc_timeout=RPC_TIMEOUT)
    except RPCError as error:
        if is_workflow_missing(error):
            raise NotFound(f"There is no {named('job', job_id)}, or it has ended.") from None
        raise


async def jobs(temporal: Client, *, limit: int | None = None) -> AsyncIterator[JobProgress]:
    """The jobs that Temporal still has, newest first.

    Raises:
        Unavailable: no worker answered.
        RPCError: Temporal did not answer.
    """
    # A job of many dead letters has several runs; only its last one has not continued as new.
    query = f"WorkflowType='{DEAD_LETTER_JOB}' AND ExecutionStatus!='ContinuedAsNew'"
    async for execution in temporal.list_workflows(query, limit=limit):
        yield await progress(temporal, job_id_of(execution.id))


def _handle(temporal: Client, job_id: str) -> WorkflowHandle[Any, JobProgress]:
    return temporal.get_workflow_handle(job_workflow_id(job_id), result_type=JobProgress)


def _not_found(job_id: str) -> NotFound:
    return NotFound(f"There is no {named('job', job_id)}, or Temporal has deleted it.")
