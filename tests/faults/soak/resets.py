"""Resets messages at every stage, as an operator does with `temporal workflow reset`."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client
from temporalio.service import RPCError

from signedfor.contract import Stage, message_workflow_id
from signedfor.search_attributes import MESSAGE_STATUS
from tests.encryption import decrypt
from tests.faults.soak.history import StatusShown, read_history
from tests.faults.support import completed_tasks, reset_workflow

STARTING = "starting"
"""No status is shown yet: the first send may be under way."""
CLOSED = "closed"
_TARGETS = (STARTING, *Stage, CLOSED)
_SECONDS_BETWEEN = 1.5
_CANDIDATES = 50
_RPC_TIMEOUT = timedelta(seconds=5)


@dataclass(frozen=True, kw_only=True)
class Reset:
    """One reset: when, of a message at which stage, and to its first workflow task or another."""

    at: float
    target: str
    to_first_task: bool


def schedule_resets(seed: int, *, seconds: float) -> list[Reset]:
    """The resets of one soak, in order of time."""
    chance = Random(f"{seed}:resets")  # noqa: S311 - seeded chance, not a secret
    resets: list[Reset] = []
    at = chance.uniform(0, 2 * _SECONDS_BETWEEN)
    while at < seconds:
        target, to_first_task = chance.choice(_TARGETS), chance.random() < 1 / 2
        resets.append(Reset(at=at, target=target, to_first_task=to_first_task))
        at += chance.uniform(0, 2 * _SECONDS_BETWEEN)
    return resets


def task_to_reset_to(
    events: Sequence[HistoryEvent], chance: Random, *, to_first_task: bool
) -> int | None:
    """The id of the first completed workflow task, or of any; else of one that has started."""
    tasks = completed_tasks(events)
    if tasks:
        return tasks[0] if to_first_task else chance.choice(tasks)
    started = EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED
    return next((event.event_id for event in events if event.event_type == started), None)


class MessageResets:
    """Resets random messages while a soak runs."""

    def __init__(self, client: Client, *, message_ids: Callable[[], frozenset[str]]) -> None:
        """`message_ids` returns those that may be reset."""
        self._client = client
        self._message_ids = message_ids
        self.by_stage: Counter[str] = Counter()
        """How many messages were reset at each stage."""
        self.run_ids: defaultdict[str, set[str]] = defaultdict(set)
        """By message id: the runs that were created."""
        self.times: defaultdict[str, list[datetime]] = defaultdict(list)
        """By message id: when it was reset, by an answer that may have been lost."""

    def counts(self) -> Counter[str]:
        """How many messages were reset at each stage, by name of the fault."""
        return Counter({f"reset: {stage}": count for stage, count in self.by_stage.items()})

    async def run(self, resets: Sequence[Reset], seed: int) -> None:
        """Make the resets; one that Temporal cannot take is left out."""
        chance = Random(f"{seed}:reset messages")  # noqa: S311 - seeded chance, not a secret
        started = time.monotonic()
        for reset in resets:
            await asyncio.sleep(max(0.0, started + reset.at - time.monotonic()))
            try:
                await self._reset(reset, chance)
            except (RPCError, TimeoutError):
                continue  # Temporal is down, or the message was quicker

    async def _reset(self, reset: Reset, chance: Random) -> None:
        async with asyncio.timeout(2 * _RPC_TIMEOUT.total_seconds()):
            message_id = await self._choose(reset.target, chance)
            if message_id is None:
                return
            workflow_id = message_workflow_id(message_id)
            handle = self._client.get_workflow_handle(workflow_id)
            run_id = (await handle.describe(rpc_timeout=_RPC_TIMEOUT)).run_id
            handle = self._client.get_workflow_handle(workflow_id, run_id=run_id)
            history = await handle.fetch_history(rpc_timeout=_RPC_TIMEOUT)
            events = decrypt(history.events, self._client)
            task = task_to_reset_to(events, chance, to_first_task=reset.to_first_task)
            if task is None:
                return
            self.times[message_id].append(datetime.now(UTC))
            new_run = await reset_workflow(self._client, workflow_id, task, run_id=run_id)
            self.run_ids[message_id].add(new_run)
            self.by_stage[_stage_in(events)] += 1

    async def _choose(self, target: str, chance: Random) -> str | None:
        """A message at this stage, or else any that runs."""
        allowed = {message_workflow_id(each): each for each in self._message_ids()}
        for condition in (_condition(target), "ExecutionStatus = 'Running'"):
            query = f"WorkflowType = 'SendMessage' AND {condition}"
            executions = self._client.list_workflows(
                query, limit=_CANDIDATES, rpc_timeout=_RPC_TIMEOUT
            )
            found = [allowed[each.id] async for each in executions if each.id in allowed]
            if found:
                return chance.choice(sorted(found))
        return None


def _condition(target: str) -> str:
    if target == CLOSED:
        return "ExecutionStatus = 'Completed'"
    if target == STARTING:
        return f"ExecutionStatus = 'Running' AND {MESSAGE_STATUS.name} IS NULL"
    return f"ExecutionStatus = 'Running' AND {MESSAGE_STATUS.name} = '{target}'"


def _stage_in(events: Sequence[HistoryEvent]) -> str:
    history = read_history(events)
    if history.closed_at is not None:
        return CLOSED
    shown = [event.status for event in history.events if isinstance(event, StatusShown)]
    return shown[-1] if shown else STARTING
