"""Waits until everything has settled, and gathers all that is known of it: the books' input."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Engine, select
from temporalio.client import Client, WorkflowHistory
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Replayer
from workflows.inputs import OneArgument

from devtools.bench.books import Account, Books, Violation
from devtools.bench.crowd import Done, Kind
from devtools.bench.trails import Trail, read_trail
from devtools.sandbox.client import SandboxControl
from devtools.sandbox.journal import Journal
from devtools.workflow_sandbox import sandboxed_runner
from signedfor.contract import MessageReport, dead_letter_workflow_id, message_workflow_id
from signedfor.payloads import data_converter
from signedfor.store.database import open_engine, transaction
from signedfor.store.inbox import Inbox
from signedfor.store.tables import inbound_messages, send_attempts, suppressions
from signedfor.twilio.keywords import InboundKind
from workflows.dead_letter import DeadLetter
from workflows.send_message import SendMessage

_POLL_SECONDS = 0.5
_QUIET_LOOKS = 3
"""Looks in a row that find nothing under way: visibility may lag behind by a moment."""
_AT_ONCE = 8
_RUNNING = "WorkflowType = 'SendMessage' AND ExecutionStatus = 'Running'"


@dataclass(frozen=True, kw_only=True)
class Settled:
    """How the wait for quiet ended: after how many seconds, and what was still under way."""

    seconds: float
    running: int
    unfinished: int
    in_inbox: int

    @property
    def is_quiet(self) -> bool:
        """Whether nothing was."""
        return not (self.running or self.unfinished or self.in_inbox)


async def settle(
    client: Client, sandbox: SandboxControl, *, database_url: str, within: float
) -> Settled:
    """Wait until no message runs, Twilio has nothing more to say and the inbox is empty."""
    engine = open_engine(database_url, pool_size=1)
    begun, quiet = time.monotonic(), 0
    try:
        while True:
            running = (await client.count_workflows(_RUNNING)).count
            summary = await asyncio.to_thread(sandbox.summary)
            now = Settled(
                seconds=time.monotonic() - begun,
                running=running,
                unfinished=summary["unfinished"] + summary["pending"],
                in_inbox=Inbox(engine).backlog().count,
            )
            quiet = quiet + 1 if now.is_quiet else 0
            if quiet == _QUIET_LOOKS or now.seconds > within:
                return now
            await asyncio.sleep(_POLL_SECONDS)
    finally:
        engine.dispose()


class Gatherer:
    """Reads histories, the database, and Twilio's ledger and journal."""

    def __init__(
        self, client: Client, sandbox: SandboxControl, *, database_url: str, journal: Path
    ) -> None:
        self._client = client
        self._sandbox = sandbox
        self._database_url = database_url
        self._journal = journal

    async def books(
        self,
        everything: Iterable[Done],
        *,
        before: Mapping[str, MessageReport],
        bystanders_within: timedelta,
        twilio_frozen: Sequence[tuple[datetime, datetime]],
    ) -> Books:
        """All that is known; `before` are reports from before the second time."""
        limit = asyncio.Semaphore(_AT_ONCE)

        async def account(done: Done) -> Account:
            async with limit:
                found = await self._account(done, bystanders_within)
                return replace(found, report_before=before.get(found.message_id))

        accounts = await asyncio.gather(*(account(done) for done in everything))
        ledger = await asyncio.to_thread(self._sandbox.ledger)
        engine = open_engine(self._database_url, pool_size=1)
        try:
            return Books(
                accounts=accounts,
                ledger=ledger,
                notes=_notes(engine),
                stops=_stops(engine),
                inbox_left=Inbox(engine).backlog().count,
                last_words=await asyncio.to_thread(_last_words, self._journal),
                twilio_frozen=twilio_frozen,
            )
        finally:
            engine.dispose()

    async def trail(self, workflow_id: str, *, of_message: bool = True) -> Trail | None:
        """The trail of a workflow; None if there is none."""
        try:
            history = await self._client.get_workflow_handle(workflow_id).fetch_history()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None
            raise
        return read_trail(list(history.events), of_message=of_message)

    async def replayed_otherwise(self, message_ids: Iterable[str]) -> list[Violation]:
        """Replays these histories with today's code; violations where it decides otherwise."""
        replayer = Replayer(
            workflows=[SendMessage, DeadLetter],
            data_converter=data_converter,
            interceptors=[OneArgument()],
            workflow_runner=sandboxed_runner(),
        )

        async def histories() -> AsyncIterator[WorkflowHistory]:
            for message_id in message_ids:
                handle = self._client.get_workflow_handle(message_workflow_id(message_id))
                yield await handle.fetch_history()

        result = await replayer.replay_workflows(histories(), raise_on_replay_failure=False)
        return [
            Violation(rule=4, message_id=run_id, what=f"replays otherwise: {type(error).__name__}")
            for run_id, error in result.replay_failures.items()
        ]

    async def _account(self, done: Done, bystanders_within: timedelta) -> Account:
        errand = done.errand
        trail = await self.trail(message_workflow_id(errand.message_id))
        letter = None
        if trail is not None and trail.report is not None and trail.report.dead_letter_id:
            letter_id = dead_letter_workflow_id(errand.message_id)
            letter = await self.trail(letter_id, of_message=False)
        return Account(
            message_id=errand.message_id,
            to=errand.to,
            handed_in_at=done.handed_in_at,
            expires_at=done.expires_at,
            stopped_at=done.stopped_at,
            canceled_at=done.canceled_at,
            settles_within=bystanders_within if errand.kind is Kind.BYSTANDER else None,
            is_bad_input=errand.kind is Kind.BAD_INPUT,
            is_told_once=errand.kind is Kind.TOLD_ONCE,
            run_ids=frozenset(done.run_ids),
            trail=trail,
            letter=letter,
        )


def _last_words(journal: Path) -> dict[str, datetime]:
    found: dict[str, datetime] = {}
    for event in Journal(journal).replay():
        if event["event"] == "changed" and event["changes"]["finished"]:
            said_at = datetime.fromtimestamp(event["changes"]["updated"], UTC)
            found.setdefault(event["sid"], said_at)
    return found


def _notes(engine: Engine) -> dict[str, list[datetime]]:
    notes: dict[str, list[datetime]] = {}
    with transaction(engine, read_only=True) as connection:
        for message_id, started_at in connection.execute(
            select(send_attempts.c.message_id, send_attempts.c.started_at)
        ):
            notes.setdefault(message_id, []).append(started_at)
    return notes


def _stops(engine: Engine) -> frozenset[str]:
    said_stop = select(inbound_messages.c.from_address).where(
        inbound_messages.c.kind == InboundKind.STOP
    )
    query = select(suppressions.c.recipient).where(suppressions.c.recipient.in_(said_stop))
    with transaction(engine, read_only=True) as connection:
        return frozenset(connection.scalars(query))
