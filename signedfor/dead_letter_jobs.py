"""One decision about many dead letters: a preview of it, and the job that carries it out.

The command line and the operations page call these functions.
"""

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pydantic import ValidationError
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError

from signedfor.contract import (
    MESSAGES_QUEUE,
    PROGRESS_QUERY,
    DeadLetterRequest,
    MessageChanges,
    MessageRequest,
    Resolution,
)
from signedfor.dead_letter_activities import (
    DEAD_LETTER_JOB,
    STOP_SIGNAL,
    JobProgress,
    JobRequest,
    JobState,
    JobStop,
    Selection,
    Skipped,
    job_id_of,
    job_workflow_id,
)
from signedfor.dead_letters import (
    ANSWER_SECONDS,
    Cause,
    DeadLetterFilter,
    DeadLetterSummary,
    find,
    handle_of,
)
from signedfor.errors import NotFound, Unavailable
from signedfor.store.suppressions import Suppressions
from signedfor.workflow_calls import NO_WORKER, RPC_TIMEOUT, is_no_worker, is_workflow_missing

MAX_SELECTED: Final = 10_000
"""The most dead letters of one job: the newest that match."""
MAX_READS: Final = 16
"""Dead letters read at a time."""
_SUPPRESSED_AT_ONCE: Final = 500
_INSTANT: Final = timedelta(microseconds=1)
"""Temporal's times are more precise than ours."""
_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Checks:
    """The messages that could not be sent again as they are."""

    expired: frozenset[str] = frozenset()
    suppressed: frozenset[str] = frozenset()
    """The recipient has opted out since, for instance."""
    invalid: frozenset[str] = frozenset()
    """The changes do not fit them."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Those with one cause and sender."""

    cause: Cause
    sender: str | None
    """A phone number is masked."""
    count: int


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What a decision about many dead letters would do, counted before anything is done."""

    resolution: Resolution
    selection: Selection
    """Exactly these: what is opened later is not part of the job."""
    selected: int
    is_all: bool
    """Whether no more match than were selected."""
    parts: tuple[Part, ...]
    """Most first."""
    may_have_arrived: int
    suppressed: int
    expired: int
    invalid: int
    unreadable: int
    skipped: Mapping[Skipped, int]
    """How many a retry would leave as they are, each for the first reason that applies."""

    @property
    def job(self) -> JobRequest:
        """The job that does it."""
        return JobRequest(
            resolution=self.resolution, selection=self.selection, selected=self.selected
        )

    @property
    def to_resolve(self) -> int:
        """How many would be retried or discarded."""
        left = self.invalid + self.unreadable if self.resolution.action == "retry" else 0
        return self.selected - sum(self.skipped.values()) - left


async def preview(
    temporal: Client,
    suppressions: Suppressions,
    which: DeadLetterFilter,
    resolution: Resolution,
    *,
    limit: int = MAX_SELECTED,
) -> Preview:
    """What the decision would do with the open dead letters that match.

    Raises:
        InvalidClause: Temporal does not understand the filter's `query`.
        DatabaseUnavailable: the database cannot be asked who has opted out.
        RPCError: Temporal did not answer.
    """
    found = [each async for each in find(temporal, which, limit=limit + 1)]
    is_all, found = len(found) <= limit, found[:limit]
    letters = await read(temporal, [each.message_id for each in found])
    readable = {name: letter for name, letter in letters.items() if letter is not None}
    checks = await asyncio.to_thread(
        check, readable, resolution.changes, suppressions, now=datetime.now(UTC)
    )
    taken = {each.message_id for each in found if each.may_have_arrived}
    skipped = (
        Counter(_skipped(letters, checks, () if resolution.even_if_taken else taken).values())
        if resolution.action == "retry"
        else {}
    )
    return Preview(
        resolution=resolution,
        selection=Selection(
            clause=which.clause(),
            opened_from=found[-1].opened_at if found else _NEVER,
            opened_until=found[0].opened_at + _INSTANT if found else _NEVER,
        ),
        selected=len(found),
        is_all=is_all,
        parts=_parts(found),
        may_have_arrived=len(taken),
        suppressed=len(checks.suppressed),
        expired=len(checks.expired),
        invalid=len(checks.invalid),
        unreadable=sum(letter is None for letter in letters.values()),
        skipped=dict(skipped),
    )


def _skipped(
    letters: Collection[str], checks: Checks, taken: Collection[str]
) -> dict[str, Skipped]:
    """Why each is left as it is, in the order in which the job checks."""
    reasons = {}
    for name in letters:
        if name in checks.invalid:
            continue
        if name in checks.expired:
            reasons[name] = Skipped.EXPIRED
        elif name in checks.suppressed:
            reasons[name] = Skipped.SUPPRESSED
        elif name in taken:
            reasons[name] = Skipped.MAY_HAVE_ARRIVED
    return reasons


def _parts(found: Collection[DeadLetterSummary]) -> tuple[Part, ...]:
    counts = Counter((each.cause, each.sender) for each in found)
    return tuple(
        Part(cause=cause, sender=sender, count=count)
        for (cause, sender), count in counts.most_common()
    )


async def read(
    temporal: Client, message_ids: Collection[str]
) -> dict[str, DeadLetterRequest | None]:
    """The dead letters' inputs, without a worker; None for one that cannot be read.

    Those that Temporal has deleted are left out.
    """
    free = asyncio.Semaphore(MAX_READS)

    async def one(message_id: str) -> tuple[str, DeadLetterRequest | None] | None:
        async with free:
            try:
                return message_id, await _input(temporal, message_id)
            except RPCError as error:
                if is_workflow_missing(error):
                    return None
                raise

    return dict(filter(None, await asyncio.gather(*map(one, message_ids))))


async def _input(temporal: Client, message_id: str) -> DeadLetterRequest | None:
    events = handle_of(temporal, message_id).fetch_history_events(
        page_size=1, rpc_timeout=RPC_TIMEOUT
    )
    async for event in events:
        payloads = event.workflow_execution_started_event_attributes.input.payloads
        try:
            (letter,) = await temporal.data_converter.decode(payloads, [DeadLetterRequest])
        except (ApplicationError, RuntimeError, ValueError):
            return None
        return letter if isinstance(letter, DeadLetterRequest) else None
    return None


def check(
    letters: Mapping[str, DeadLetterRequest],
    changes: MessageChanges | None,
    suppressions: Suppressions,
    *,
    now: datetime,
) -> Checks:
    """Which of the messages, with these changes, could not be sent now.

    Raises:
        DatabaseUnavailable: the database cannot be asked who has opted out.
    """
    messages: dict[str, MessageRequest] = {}
    invalid = set()
    for name, letter in letters.items():
        try:
            messages[name] = (changes or MessageChanges()).applied_to(letter.message)
        except ValidationError:
            invalid.add(name)
    return Checks(
        expired=frozenset(
            name
            for name, message in messages.items()
            if message.expires_at is not None and message.expires_at <= now
        ),
        suppressed=_suppressed(letters, messages, suppressions),
        invalid=frozenset(invalid),
    )


def _suppressed(
    letters: Mapping[str, DeadLetterRequest],
    messages: Mapping[str, MessageRequest],
    suppressions: Suppressions,
) -> frozenset[str]:
    alike: dict[tuple[str | None, str | None], list[str]] = {}
    for name, message in messages.items():
        # Without one of its own, it is sent from the workers' default sender, as before.
        sender = message.sender or letters[name].sender
        alike.setdefault((sender, message.category), []).append(name)
    found: set[str] = set()
    for (sender, category), names in alike.items():
        for begin in range(0, len(names), _SUPPRESSED_AT_ONCE):
            some = names[begin : begin + _SUPPRESSED_AT_ONCE]
            recipients = suppressions.find_suppressed(
                {messages[name].to for name in some}, sender=sender, category=category
            )
            found |= {name for name in some if messages[name].to in recipients}
    return frozenset(found)


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
            raise NotFound(f"There is no job {job_id}, or it has ended.") from None
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
    return NotFound(f"There is no job {job_id}, or Temporal has deleted it.")
