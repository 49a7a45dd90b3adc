"""Writes attempt records again that a restored database lacks, from what Temporal knows.

Only while no worker runs. It can be repeated: what is there is not written again.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import Engine
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client, WorkflowExecution
from temporalio.service import RPCError

from signedfor.attempt_history import Gap, PossiblePosts, has_open_send, possible_posts
from signedfor.client import request_in
from signedfor.contract import (
    MESSAGES_QUEUE,
    SEND_MESSAGE,
    TWILIO_SENDS_QUEUE,
    MessageRequest,
    message_id_of,
)
from signedfor.errors import BadInput, Refused
from signedfor.message_limits import LimitRule, limits_of
from signedfor.payloads import UnreadablePayload
from signedfor.store.duplicates import content_hash
from signedfor.store.fingerprints import fingerprint, recipient_hash
from signedfor.store.people import People
from signedfor.store.restored_attempts import RestoredAttempt, RestoredAttempts
from signedfor.store.tables import UNNUMBERED
from signedfor.workers import Condition, list_workers
from signedfor.workflow_calls import RPC_TIMEOUT, is_workflow_missing

_CONCURRENT: Final = 16
_PAGE: Final = 250
_MAX_POLL: Final = timedelta(seconds=75)
"""A worker that runs asks each queue again after a minute at most."""

Notify = Callable[[int], None]
"""Takes how many messages have been looked at so far."""


@dataclass
class Recovery:
    """What was found, or written."""

    messages: int = 0
    """Under way, or ended in the gap."""
    numbered: int = 0
    """Records that the history shows the submission of."""
    unnumbered: int = 0
    """Records that hold whichever submission the message attempts next."""
    unreadable: list[str] = field(default_factory=list)
    """Ids of messages whose history or input cannot be read: nothing protects them."""

    @property
    def records(self) -> int:
        """All that were missing."""
        return self.numbered + self.unnumbered


class AttemptRecovery:
    """Restores the records in the database of `engine` from the messages in `temporal`.

    Raises `signedfor.store.database.DatabaseUnavailable` and `temporalio.service.RPCError` when one
    of them does not answer.
    """

    def __init__(
        self,
        engine: Engine,
        temporal: Client,
        *,
        gap: Gap,
        default_sender: str | None,
        limits: Sequence[LimitRule] = (),
    ) -> None:
        self._attempts = RestoredAttempts(engine)
        self._people = People(engine)
        self._temporal = temporal
        self._gap = gap
        self._default_sender = default_sender
        self._limits = limits

    async def run(self, notify: Notify, *, dry_run: bool = False) -> Recovery:
        """Look at every message; with `dry_run` write nothing.

        Raises:
            Refused: a worker runs, or has a moment ago.
            BadInput: a message needs the default sender, and there is none.
        """
        await require_no_worker(self._temporal)
        recovery, seen = Recovery(), set[str]()
        # Temporal lists a message a moment after it has started: until there is nothing new.
        while True:
            before = len(seen)
            async for page in self._pages(seen):
                found = await asyncio.gather(*map(self._attempts_of, page))
                await asyncio.to_thread(self._restore, recovery, found, dry_run=dry_run)
                recovery.messages += len(page)
                for execution, attempts in zip(page, found, strict=True):
                    if attempts is None:
                        recovery.unreadable.append(message_id_of(execution.id))
                notify(recovery.messages)
            if len(seen) == before:
                return recovery

    async def total(self) -> int:
        """How many messages there are to look at, about."""
        count = await self._temporal.count_workflows(self._query, rpc_timeout=RPC_TIMEOUT)
        return count.count

    @property
    def _query(self) -> str:
        since = self._gap.since.astimezone(UTC).isoformat(timespec="seconds")
        # Those that failed had bad input: nothing was sent.
        return (
            f"WorkflowType = '{SEND_MESSAGE}' AND ExecutionStatus != 'Failed' AND "
            f"(ExecutionStatus = 'Running' OR CloseTime >= '{since}')"
        )

    async def _pages(self, seen: set[str]) -> AsyncIterator[list[WorkflowExecution]]:
        page: list[WorkflowExecution] = []
        listed = self._temporal.list_workflows(
            self._query, page_size=_PAGE, rpc_timeout=RPC_TIMEOUT
        )
        async for each in listed:
            if each.run_id not in seen:
                seen.add(each.run_id)
                page.append(each)
            if len(page) == _CONCURRENT:
                yield page
                page = []
        if page:
            yield page

    async def _attempts_of(self, execution: WorkflowExecution) -> list[RestoredAttempt] | None:
        """What the database should have of it; None if that cannot be read."""
        handle = self._temporal.get_workflow_handle(execution.id, run_id=execution.run_id)
        try:
            events = (await handle.fetch_history(rpc_timeout=RPC_TIMEOUT)).events
            request = await request_in(events[0], self._temporal.data_converter)
            if request is None:
                return None
            pending = (
                (await handle.describe(rpc_timeout=RPC_TIMEOUT)).raw_description.pending_activities
                if has_open_send(events)
                else ()
            )
            posts = await possible_posts(
                events, self._temporal.data_converter, gap=self._gap, pending=pending
            )
        except UnreadablePayload:
            return None
        except RPCError as error:
            if not is_workflow_missing(error):
                raise
            return []  # its retention has ended meanwhile
        return self._records(message_id_of(execution.id), request, posts)

    def _records(
        self, message_id: str, request: MessageRequest, posts: PossiblePosts
    ) -> list[RestoredAttempt]:
        began = dict(posts.numbered)
        is_due = request.send_at is None or request.send_at <= self._gap.until
        if posts.unnumbered is not None and is_due:
            began[UNNUMBERED] = posts.unnumbered
        if not began:
            return []
        sender = posts.sender or request.sender or self._default_sender
        if sender is None:
            raise BadInput(
                [("DEFAULT_SENDER", "must be set as for the workers: messages name no sender")]
            )
        reference = self._people.reference(request.to)
        limits = limits_of(request, self._limits, person_reference=reference)
        return [
            RestoredAttempt(
                message_id=message_id,
                submission=submission,
                started_at=started_at,
                fingerprint=fingerprint(request, sender=sender),
                recipient_hash=recipient_hash(request.to),
                sender=sender,
                person_reference=reference,
                content_hash=content_hash(request, person_reference=reference),
                limits=tuple(limits),
                counted_at=self._gap.until if submission == UNNUMBERED else started_at,
            )
            for submission, started_at in sorted(began.items())
        ]

    def _restore(
        self,
        recovery: Recovery,
        found: Sequence[list[RestoredAttempt] | None],
        *,
        dry_run: bool,
    ) -> None:
        missing = self._attempts.missing([each for some in found for each in some or ()])
        if missing and not dry_run:
            self._attempts.add(missing)
        unnumbered = Counter(each.submission == UNNUMBERED for each in missing)
        recovery.numbered += unnumbered[False]
        recovery.unnumbered += unnumbered[True]


async def require_no_worker(client: Client) -> None:
    """Raise `Refused` if a worker of ours runs, or asked for work a moment ago."""
    stopped = {
        each.identity
        for each in await list_workers(client)
        if each.condition in {Condition.ENDED, Condition.SILENT}
    }
    for queue in (MESSAGES_QUEUE, TWILIO_SENDS_QUEUE):
        for kind in (
            TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
            TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
        ):
            described = await client.workflow_service.describe_task_queue(
                DescribeTaskQueueRequest(
                    namespace=client.namespace,
                    task_queue=TaskQueue(name=queue),
                    task_queue_type=kind,
                ),
                timeout=RPC_TIMEOUT,
            )
            since = datetime.now(UTC) - _MAX_POLL
            for each in described.pollers:
                if each.identity not in stopped and each.last_access_time.ToDatetime(UTC) > since:
                    raise Refused(
                        f"A worker ({each.identity}) runs, or did {_MAX_POLL.seconds} seconds ago. "
                        "Stop all workers; if they are stopped, repeat this in a minute."
                    )
