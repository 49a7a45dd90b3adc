"""The messages of a soak, chosen by a seed, and a client that sends them by the contract."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from random import Random
from typing import Any

import httpx
from sqlalchemy import Engine, select
from temporalio.client import (
    Client,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import RawValue
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from devtools.sandbox.client import SandboxControl, Step
from devtools.sandbox.magic import GOOD_SENDER
from signedfor.client import CONFLICT_POLICY, REUSE_POLICY
from signedfor.contract import (
    CANCEL_UPDATE,
    MESSAGES_QUEUE,
    SEND_MESSAGE,
    CancelResult,
    message_workflow_id,
)
from signedfor.store.database import DatabaseUnavailable, transaction
from signedfor.store.tables import inbound_messages
from tests.hostile_payloads import STARTS

RECEIPT_TIMEOUT_SECONDS = 30
_RPC_TIMEOUT = timedelta(seconds=5)
_RETRY_SECONDS = 0.3
_COMMITTED_WITHIN = 300
_UNAVAILABLE = frozenset(
    {
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.CANCELLED,
        RPCStatusCode.UNKNOWN,
        RPCStatusCode.INTERNAL,
        RPCStatusCode.RESOURCE_EXHAUSTED,
        # An update of a message whose workers were killed during its workflow tasks: not ready yet.
        RPCStatusCode.FAILED_PRECONDITION,
    }
)


def _is_unavailable(error: RPCError) -> bool:
    """Whether to retry: a server that has just started may not know its namespace yet."""
    return error.status in _UNAVAILABLE or error.message.startswith("Namespace ")


class Kind(StrEnum):
    """What is special about a message."""

    PLAIN = "plain"
    EXPIRING = "expiring"
    CANCELED = "canceled"
    STOPPED = "stopped"
    """The recipient texts STOP at about the time it is sent."""
    RACING_STOP = "racing stop"
    """The recipient texts STOP in the very moment in which it is sent."""
    AFTER_STOP = "after stop"
    """Requested after that recipient's STOP was committed."""
    DUPLICATE = "duplicate"
    """Another message with the same text goes to the same recipient at the same time."""
    CALLBACK_ONLY = "callback only"
    """Only the receipt says that it was delivered: a look-up returns `sent`."""
    DELAYED = "delayed"
    """Accepted, and not delivered for a temporary reason: sent again minutes later."""
    THROTTLED = "throttled"
    """Cannot be sent: Twilio always answers 429."""
    UNANSWERED = "unanswered"
    """Cannot be sent: Twilio never answers, and never accepts it."""
    BAD_INPUT = "bad input"
    """Cannot be sent: its request is invalid, and most are meant to do harm."""
    HEALTHY = "healthy"
    """Requested together with those that cannot be sent, without a fault of its own."""


_BUSY: Step = {"respond": "error", "code": 20429, "http_status": 429}
_BUSY_AT_FIRST: tuple[tuple[Step, ...], Step] = ((_BUSY,) * 5, {})
"""About ten seconds, so that STOP and expiry find the message admitted and not yet sent."""
SCRIPTS: dict[Kind, tuple[tuple[Step, ...], Step]] = {
    Kind.EXPIRING: _BUSY_AT_FIRST,
    Kind.STOPPED: _BUSY_AT_FIRST,
    Kind.CALLBACK_ONLY: (
        (),
        {"final": "sent", "callbacks": {"statuses": ["sent", "delivered"], "delay": 3}},
    ),
    Kind.DELAYED: (({"final": "undelivered", "error_code": 14107},), {}),
    Kind.THROTTLED: ((), _BUSY),
    Kind.UNANSWERED: ((), {"respond": "hang_before_accept"}),
    Kind.HEALTHY: ((), {}),
}
"""What Twilio does with these, instead of the plan: steps of the first creates, and of the rest."""
UNSENDABLE = frozenset({Kind.THROTTLED, Kind.UNANSWERED, Kind.BAD_INPUT})


@dataclass(frozen=True, kw_only=True)
class Job:
    """One message to send. Times are seconds: `at` from the start, the others from there."""

    message_id: str
    to: str
    kind: Kind
    at: float
    send_after: float | None = None
    expires_after: float | None = None
    cancel_after: float | None = None
    stop_after: float | None = None
    starts: int = 1
    """How often it is started, all at the same time."""


@dataclass(kw_only=True)
class JobResult:
    """What the caller of a job knows."""

    job: Job
    requested_at: datetime
    expires_at: datetime | None = None
    opted_out_at: datetime | None = None
    """Its STOP was committed by then."""
    canceled_at: datetime | None = None
    run_ids: set[str] = field(default_factory=set)
    acknowledged_at: datetime | None = None
    """Temporal confirmed its newest start."""
    started_again_at: datetime | None = None
    """The newest start after a restored Temporal server had forgotten the first one."""


_SHARES = {
    Kind.PLAIN: 62,
    Kind.CALLBACK_ONLY: 12,
    Kind.EXPIRING: 6,
    Kind.CANCELED: 6,
    Kind.STOPPED: 4,
    Kind.RACING_STOP: 3,
    Kind.DUPLICATE: 5,
    Kind.DELAYED: 2,
}


_SCHEDULED = frozenset({Kind.CANCELED, Kind.STOPPED, Kind.RACING_STOP})
_RACE = (-0.05, 0.1)
"""Seconds from `send_at` to the STOP: about as long as it takes to send, and to store the STOP."""


def mixed_jobs(seed: int, *, messages: int, seconds: float, late_retries: bool) -> list[Job]:
    """The messages sent while faults are injected, spread over `seconds`.

    With `late_retries` some of them are of a kind that takes over five minutes.
    """
    chance = Random(f"{seed}:jobs")  # noqa: S311 - seeded chance, not a secret
    shares = {
        kind: share for kind, share in _SHARES.items() if late_retries or kind is not Kind.DELAYED
    }
    jobs: list[Job] = []
    while len(jobs) < messages:
        kind = chance.choices(list(shares), weights=list(shares.values()))[0]
        to, at = _number(len(jobs)), chance.uniform(0, seconds)
        send_after = chance.uniform(0.5, 6) if chance.random() < 1 / 2 else None
        stop_after = chance.uniform(0, 8) if kind is Kind.STOPPED else None
        if kind is Kind.RACING_STOP:
            send_after = chance.uniform(1, 6)
            stop_after = send_after + chance.uniform(*_RACE)
        job = Job(
            message_id=f"soak-{len(jobs)}",
            to=to,
            kind=kind,
            at=at,
            send_after=send_after if kind in _SCHEDULED else None,
            expires_after=chance.uniform(0.5, 20) if kind is Kind.EXPIRING else None,
            cancel_after=chance.uniform(0, 8) if kind is Kind.CANCELED else None,
            stop_after=stop_after,
            starts=50 if chance.random() < 1 / 500 else chance.choice((1, 1, 1, 1, 2)),
        )
        jobs.append(job)
        if kind is Kind.DUPLICATE and len(jobs) < messages:
            jobs.append(Job(message_id=f"soak-{len(jobs)}", to=to, kind=kind, at=at))
    return jobs


def unsendable_jobs(*, first: int) -> list[Job]:
    """Messages that can never be sent, among them each hostile start."""
    kinds = [Kind.THROTTLED, Kind.UNANSWERED, Kind.BAD_INPUT] * 4
    kinds += [Kind.BAD_INPUT] * len(STARTS)
    return _one_by_one(kinds, first=first)


def healthy_jobs(*, first: int) -> list[Job]:
    """Messages without faults, sent while the unsendable ones keep the system busy."""
    return _one_by_one([Kind.HEALTHY] * 24, first=first)


def _one_by_one(kinds: Sequence[Kind], *, first: int) -> list[Job]:
    return [
        Job(message_id=f"soak-{number}", to=_number(number), kind=kind, at=0.1 * (number - first))
        for number, kind in enumerate(kinds, start=first)
    ]


def _number(index: int) -> str:
    return f"+1555{2_000_000 + index}"


class Workload:
    """Runs jobs as a caller that retries each request until it is answered."""

    def __init__(
        self, client: Client, sandbox: SandboxControl, *, stranger: Client, engine: Engine
    ) -> None:
        """`engine` is that of our database: it says whether a STOP is stored.

        `stranger` has no key, and sends the bad input: what it sends is as large as it writes it.
        """
        self._client, self._stranger = client, stranger
        self._sandbox = sandbox
        self._engine = engine
        self._restores = 0
        self.results: dict[str, JobResult] = {}

    async def run(self, jobs: Sequence[Job]) -> None:
        """Run all jobs, each at its time; return when the last one is done."""
        started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for job in sorted(jobs, key=lambda each: each.at):
                await asyncio.sleep(max(0.0, started + job.at - time.monotonic()))
                group.create_task(self._run(job))

    async def start_again(self, message_id: str) -> None:
        """Start the same id again, with another text, when everything has finished."""
        result = self.results[message_id]
        run_id = await self._start(result.job, {**_request(result), "body": "Another text."})
        result.run_ids.add(run_id)

    async def repeat(self, since: datetime, until: datetime) -> None:
        """Repeat what Temporal confirmed in that period, which a restored server has forgotten.

        So do callers after such a restore. The ids are the same.
        """
        self._restores += 1
        async with asyncio.TaskGroup() as group:
            for result in list(self.results.values()):
                if result.acknowledged_at is not None and since <= result.acknowledged_at <= until:
                    group.create_task(self._repeat_start(result))
                if result.canceled_at is not None and since <= result.canceled_at <= until:
                    group.create_task(self._cancel_and_note(result))

    async def _repeat_start(self, result: JobResult) -> None:
        result.run_ids.add(await self._start(result.job, _request(result)))
        result.acknowledged_at = result.started_again_at = datetime.now(UTC)

    async def _cancel_and_note(self, result: JobResult) -> None:
        restores, result.canceled_at = self._restores, None
        is_canceled = await self._cancel(result.job)
        if is_canceled and restores == self._restores:
            result.canceled_at = datetime.now(UTC)

    async def _run(self, job: Job) -> None:
        now = datetime.now(UTC)
        result = self.results[job.message_id] = JobResult(
            job=job, requested_at=now, expires_at=_after(now, job.expires_after)
        )
        request = _request(result)
        starts = [self._start(job, request) for _ in range(job.starts)]
        result.run_ids.update(await asyncio.gather(*starts))
        result.acknowledged_at = datetime.now(UTC)
        if job.cancel_after is not None:
            await asyncio.sleep(job.cancel_after)
            await self._cancel_and_note(result)
        if job.stop_after is not None:
            await asyncio.sleep(job.stop_after)
            await self._stop(result)

    async def _start(self, job: Job, request: dict[str, Any]) -> str:
        client = self._stranger if job.kind is Kind.BAD_INPUT else self._client
        while True:
            try:
                handle = await client.start_workflow(
                    SEND_MESSAGE,
                    args=_arguments(job, request),
                    id=message_workflow_id(job.message_id),
                    task_queue=MESSAGES_QUEUE,
                    id_conflict_policy=CONFLICT_POLICY,
                    id_reuse_policy=REUSE_POLICY,
                    rpc_timeout=_RPC_TIMEOUT,
                )
            except WorkflowAlreadyStartedError as earlier:
                return earlier.run_id or ""
            except RPCError as error:
                if not _is_unavailable(error):
                    raise
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return handle.result_run_id or ""

    async def _cancel(self, job: Job) -> bool:
        handle = self._client.get_workflow_handle(message_workflow_id(job.message_id))
        while True:
            try:
                result: CancelResult = await handle.execute_update(
                    CANCEL_UPDATE, id="cancel", result_type=CancelResult, rpc_timeout=_RPC_TIMEOUT
                )
            except WorkflowUpdateFailedError:
                return False  # it ended before the update was handled
            except WorkflowUpdateRPCTimeoutOrCancelledError:
                await asyncio.sleep(_RETRY_SECONDS)
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND and not _is_unavailable(error):
                    return False  # it has ended
                if not _is_unavailable(error):
                    raise
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return result.canceled

    async def _stop(self, result: JobResult) -> None:
        """Text STOP until our webhook has accepted it; then start one more message."""
        to = result.job.to
        while result.opted_out_at is None:
            try:
                answer = await asyncio.to_thread(self._sandbox.inbound, to, GOOD_SENDER, "STOP")
            except httpx.HTTPError:
                answer = None
            if answer is not None and (answer["http_status"] or 0) // 100 == 2:
                if await self._committed(answer["sid"]):
                    result.opted_out_at = datetime.now(UTC)
            else:
                await asyncio.sleep(_RETRY_SECONDS)
        after_id = f"{result.job.message_id}-after"
        after = Job(message_id=after_id, to=to, kind=Kind.AFTER_STOP, at=0)
        await self._run(after)
        self.results[after.message_id].opted_out_at = result.opted_out_at

    async def _committed(self, inbound_sid: str) -> bool:
        """Wait until our database has the inbound message; False if it must be texted again.

        While the database cannot be written to, the webhook answers as soon as Temporal has it: a
        Temporal server that is restored then has forgotten it. The wait is limited: if the STOP was
        not stored at all, the invariants must show that.
        """
        restores, give_up_at = self._restores, time.monotonic() + _COMMITTED_WITHIN
        while time.monotonic() < give_up_at:
            if await asyncio.to_thread(self._has_stored, inbound_sid):
                return True
            if restores != self._restores:
                return False
            await asyncio.sleep(_RETRY_SECONDS)
        return True

    def _has_stored(self, inbound_sid: str) -> bool:
        query = select(inbound_messages.c.kind).where(inbound_messages.c.message_sid == inbound_sid)
        with suppress(DatabaseUnavailable), transaction(self._engine, read_only=True) as connection:
            return connection.execute(query).first() is not None
        return False


def _arguments(job: Job, request: dict[str, Any]) -> list[Any]:
    """The start's arguments; those of bad input take turns."""
    if job.kind is not Kind.BAD_INPUT:
        return [request]
    bad: list[list[Any]] = [
        [request],
        *([RawValue(each) for each in payloads] for payloads in STARTS.values()),
    ]
    return bad[int(job.message_id.rpartition("-")[2]) % len(bad)]


def _request(result: JobResult) -> dict[str, Any]:
    job = result.job
    if job.kind is Kind.BAD_INPUT:
        return {"to": job.to, "bodi": "A field that does not exist."}
    request: dict[str, Any] = {
        "to": job.to,
        "body": "A text that must arrive once.",
        "receipt_timeout_seconds": RECEIPT_TIMEOUT_SECONDS,
    }
    send_at = _after(result.requested_at, job.send_after)
    if send_at is not None:
        request["send_at"] = send_at.isoformat()
    if result.expires_at is not None:
        request["expires_at"] = result.expires_at.isoformat()
    return request


def _after(moment: datetime, seconds: float | None) -> datetime | None:
    return None if seconds is None else moment + timedelta(seconds=seconds)
