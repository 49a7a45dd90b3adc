"""Waits until the system is idle, and collects everything that the invariants need."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Engine, func, select
from temporalio.client import Client, WorkflowHistory
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Replayer

from devtools.sandbox.client import SandboxControl
from devtools.sandbox.state import Journal
from devtools.workflow_sandbox import sandboxed_runner
from signedfor.consent import Reason, Source
from signedfor.contract import (
    InboundKind,
    MessageReport,
    dead_letter_workflow_id,
    message_workflow_id,
)
from signedfor.interceptors import OneArgument
from signedfor.store.database import open_engine, transaction
from signedfor.store.inbox import Inbox
from signedfor.store.suppressions import Action
from signedfor.store.tables import (
    inbound_messages,
    send_attempts,
    suppression_history,
    suppressions,
)
from tests.encryption import decrypt
from tests.faults.soak.history import History, read_history
from tests.faults.soak.injection import FaultInjector
from tests.faults.soak.invariants import MessageRecord, Observations, Violation
from tests.faults.soak.resets import MessageResets
from tests.faults.soak.workload import JobResult, Kind
from workflows.dead_letter import DeadLetter
from workflows.send_message import SendMessage

_POLL_SECONDS = 0.5
_IDLE_POLLS = 3
"""In a row: visibility may lag behind by a moment."""
_CONCURRENCY = 8
_RUNNING = "WorkflowType = 'SendMessage' AND ExecutionStatus = 'Running'"


@dataclass(frozen=True, kw_only=True)
class Activity:
    """What was still in progress when the wait ended, after how many seconds."""

    seconds: float
    running: int
    unfinished: int
    in_inbox: int

    @property
    def is_idle(self) -> bool:
        """Whether nothing was in progress."""
        return not (self.running or self.unfinished or self.in_inbox)


async def wait_until_idle(
    client: Client, sandbox: SandboxControl, *, database_url: str, within: float
) -> Activity:
    """Wait until no message runs, Twilio has no callback to post and the inbox is empty."""
    engine = open_engine(database_url, pool_size=1)
    started, idle_polls = time.monotonic(), 0
    try:
        while True:
            running = (await client.count_workflows(_RUNNING)).count
            summary = await asyncio.to_thread(sandbox.summary)
            now = Activity(
                seconds=time.monotonic() - started,
                running=running,
                unfinished=summary["unfinished"] + summary["pending"],
                in_inbox=Inbox(engine).backlog().count,
            )
            idle_polls = idle_polls + 1 if now.is_idle else 0
            if idle_polls == _IDLE_POLLS or now.seconds > within:
                return now
            await asyncio.sleep(_POLL_SECONDS)
    finally:
        engine.dispose()


class Collector:
    """Reads histories, the database, and Twilio's ledger and journal."""

    def __init__(
        self, client: Client, sandbox: SandboxControl, *, database_url: str, journal: Path
    ) -> None:
        self._client = client
        self._sandbox = sandbox
        self._database_url = database_url
        self._journal = journal

    async def observations(
        self,
        results: Iterable[JobResult],
        *,
        reports_before: Mapping[str, MessageReport],
        healthy_within: timedelta,
        injector: FaultInjector,
        resets: MessageResets,
    ) -> Observations:
        """Everything known; `reports_before` are from before requests were repeated."""
        limit = asyncio.Semaphore(_CONCURRENCY)
        runs = await self._runs()

        async def record(result: JobResult) -> MessageRecord:
            async with limit:
                message_id = result.job.message_id
                run_ids = runs.get(message_workflow_id(message_id), [])
                return replace(
                    await self._record(result, run_ids, healthy_within),
                    report_before=reports_before.get(message_id),
                    reset_run_ids=frozenset(resets.run_ids.get(message_id, ())),
                    reset_at=tuple(resets.times.get(message_id, ())),
                )

        messages = await asyncio.gather(*(record(result) for result in results))
        ledger = await asyncio.to_thread(self._sandbox.ledger)
        engine = open_engine(self._database_url, pool_size=1)
        try:
            return Observations(
                messages=messages,
                ledger=ledger,
                attempts=_attempts(engine),
                opted_out=_opted_out(engine),
                inbox_backlog=Inbox(engine).backlog().count,
                final_status_at=await asyncio.to_thread(_final_status_at, self._journal),
                sandbox_frozen=injector.sandbox_frozen,
                worker_frozen=injector.worker_frozen,
                forgotten=injector.forgotten,
                stopped_at=_stopped_at(engine),
            )
        finally:
            engine.dispose()

    async def _runs(self) -> dict[str, list[str]]:
        """The run ids of every message by its workflow id, the newest last."""
        found: dict[str, list[tuple[datetime, str]]] = {}
        async for each in self._client.list_workflows("WorkflowType = 'SendMessage'"):
            found.setdefault(each.id, []).append((each.start_time, each.run_id))
        return {
            workflow_id: [run_id for _, run_id in sorted(runs)]
            for workflow_id, runs in found.items()
        }

    async def history(
        self, workflow_id: str, *, run_id: str | None = None, of_message: bool = True
    ) -> History | None:
        """The history of a workflow's run, or else the newest; None if there is none."""
        try:
            handle = self._client.get_workflow_handle(workflow_id, run_id=run_id)
            history = await handle.fetch_history()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None
            raise
        return read_history(decrypt(history.events, self._client), of_message=of_message)

    async def replay_violations(self, message_ids: Iterable[str]) -> list[Violation]:
        """Replay these histories; a violation for each that the current code does not match."""
        replayer = Replayer(
            workflows=[SendMessage, DeadLetter],
            data_converter=self._client.data_converter,
            interceptors=[OneArgument()],
            workflow_runner=sandboxed_runner(),
        )

        async def histories() -> AsyncIterator[WorkflowHistory]:
            for message_id in message_ids:
                handle = self._client.get_workflow_handle(message_workflow_id(message_id))
                yield await handle.fetch_history()

        result = await replayer.replay_workflows(histories(), raise_on_replay_failure=False)
        return [
            Violation(invariant=4, message_id=run_id, what=f"replay failed: {type(error).__name__}")
            for run_id, error in result.replay_failures.items()
        ]

    async def _record(
        self, result: JobResult, run_ids: Sequence[str], healthy_within: timedelta
    ) -> MessageRecord:
        job = result.job
        workflow_id = message_workflow_id(job.message_id)
        history = await self.history(workflow_id)
        earlier = [await self.history(workflow_id, run_id=each) for each in run_ids[:-1]]
        dead_letter = None
        if history is not None and history.report is not None and history.report.dead_letter_id:
            dead_letter_id = dead_letter_workflow_id(job.message_id)
            dead_letter = await self.history(dead_letter_id, of_message=False)
        return MessageRecord(
            message_id=job.message_id,
            to=job.to,
            requested_at=result.requested_at,
            expires_at=result.expires_at,
            opted_out_at=result.opted_out_at,
            canceled_at=result.canceled_at,
            finishes_within=healthy_within if job.kind is Kind.HEALTHY else None,
            is_bad_input=job.kind is Kind.BAD_INPUT,
            is_callback_only=job.kind is Kind.CALLBACK_ONLY,
            run_ids=frozenset(result.run_ids),
            history=history,
            earlier_runs=tuple(each for each in earlier if each is not None),
            started_again_at=result.started_again_at,
            dead_letter=dead_letter,
        )


def _final_status_at(journal: Path) -> dict[str, datetime]:
    found: dict[str, datetime] = {}
    for event in Journal(journal).replay():
        if event["event"] == "changed" and event["changes"]["finished"]:
            at = datetime.fromtimestamp(event["changes"]["updated"], UTC)
            found.setdefault(event["sid"], at)
    return found


def _attempts(engine: Engine) -> dict[str, list[datetime]]:
    """The last check before each POST; of refused ones only the newest time is recorded."""
    query = select(send_attempts.c.message_id, send_attempts.c.started_at, send_attempts.c.attempt)
    attempts: dict[str, list[datetime]] = {}
    with transaction(engine, read_only=True) as connection:
        for message_id, started_at, count in connection.execute(query):
            attempts.setdefault(message_id, []).extend([started_at] * count)
    return attempts


def _stopped_at(engine: Engine) -> dict[str, datetime]:
    """By recipient: when the first STOP by text was committed.

    Its time is taken inside the transaction, while SQLite lets no other connection write: what is
    claimed after it sees it.
    """
    column = suppression_history.c
    query = (
        select(column.recipient, func.min(column.at, type_=column.at.type).label("at"))
        .where(
            column.action == Action.RECORDED,
            column.reason == Reason.OPTED_OUT,
            column.source == Source.INBOUND,
        )
        .group_by(column.recipient)
    )
    with transaction(engine, read_only=True) as connection:
        return {row.recipient: row.at for row in connection.execute(query)}


def _opted_out(engine: Engine) -> frozenset[str]:
    sent_stop = select(inbound_messages.c.from_address).where(
        inbound_messages.c.kind == InboundKind.STOP
    )
    query = select(suppressions.c.recipient).where(suppressions.c.recipient.in_(sent_stop))
    with transaction(engine, read_only=True) as connection:
        return frozenset(connection.scalars(query))
