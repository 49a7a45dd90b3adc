"""Ending and deleting a person's workflows in Temporal, with their histories."""

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, TypeVar

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import TemporalError
from temporalio.service import RPCError

from signedfor import client
from signedfor.contract import (
    Resolution,
    dead_letter_workflow_id,
    inbound_workflow_id,
    message_id_of,
    message_workflow_id,
    retried_id,
)
from signedfor.dead_letters import resolve
from signedfor.errors import CommandError, Unconfirmed
from signedfor.inbound import record_inbound_workflow_id
from signedfor.workflow_calls import RPC_TIMEOUT, answer, describe, is_workflow_missing

_CONCURRENT: Final = 8
_FIRST_PAUSE: Final = 0.1
_MAX_PAUSE: Final = 2.0
_DELETION_SECONDS: Final = 300.0
"""The server deletes a history a minute after its workflow has ended, if all goes well."""
_REASON: Final = "erased"
_MESSAGE: Final = message_workflow_id("")
_DEAD_LETTER: Final = dead_letter_workflow_id("")
_KINDS: Final = {
    _MESSAGE: "messages",
    _DEAD_LETTER: "dead_letters",
    inbound_workflow_id(""): "inbound_workflows",
    record_inbound_workflow_id(""): "inbound_records",
}
"""What the report calls the workflows whose ids begin so."""

_NO_ANSWERS: Final = (
    *(CommandError, TemporalError, RPCError, TimeoutError),
    *(client.BadInput, client.NotFound),
)

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class _End(Enum):
    """How a workflow has ended."""

    ANSWERED = auto()
    """It had ended, did so when asked, or has said that its message is with Twilio."""
    UNANSWERED = auto()
    """It was terminated: no worker has answered."""


@dataclass(frozen=True, kw_only=True)
class Removed:
    """The workflows that were there, and are deleted."""

    counts: Counter[str]
    """By kind."""
    unanswered: frozenset[str]
    """Ids of messages that had to be terminated without an answer whether Twilio has them."""


def workflow_ids(message_ids: Collection[str], inbound_sids: Collection[str]) -> list[str]:
    """The ids of the workflows that may have something of the person.

    A retry's recipient is in the dead letter of the message that it retries, too.
    """
    lettered = {*message_ids, *filter(None, map(retried_id, message_ids))}
    return [
        *map(message_workflow_id, sorted(message_ids)),
        *map(dead_letter_workflow_id, sorted(lettered)),
        *map(inbound_workflow_id, sorted(inbound_sids)),
        *map(record_inbound_workflow_id, sorted(inbound_sids)),
    ]


class PersonWorkflows:
    """Ends and deletes workflows. All methods can be repeated.

    They raise `temporalio.service.RPCError` when Temporal does not answer.
    """

    def __init__(
        self,
        temporal: Client,
        *,
        by: str,
        block: Callable[[str], Awaitable[None]],
        within: float,
    ) -> None:
        """`block` has no further POST of a message begin; `within` seconds a worker must answer."""
        self._temporal = temporal
        self._messages = client.Client(temporal)
        self._by = by
        self._block = block
        self._within = within

    async def count(self, ids: Sequence[str]) -> Counter[str]:
        """How many of these there are, by kind."""
        runs = await _all(self._runs, ids)
        return Counter(_kind(each) for each, found in zip(ids, runs, strict=True) if found)

    async def remove(self, ids: Sequence[str]) -> Removed:
        """End those that run, then delete every run of each; return when Temporal has none."""
        ends = dict(zip(ids, await _all(self._remove, ids), strict=True))
        return Removed(
            counts=Counter(_kind(each) for each, end in ends.items() if end is not None),
            unanswered=frozenset(
                message_id_of(each)
                for each, end in ends.items()
                if end is _End.UNANSWERED and each.startswith(_MESSAGE)
            ),
        )

    async def _remove(self, workflow_id: str) -> "_End | None":
        """How it has ended; None if there was none."""
        if not await self._runs(workflow_id):
            return None
        end = await self._end(workflow_id)
        deleted, pause = set[str](), _FIRST_PAUSE
        async with _deletion_limit():
            while runs := await self._runs(workflow_id):
                for run_id in runs - deleted:
                    await self._delete(workflow_id, run_id)
                deleted |= runs
                await asyncio.sleep(pause)
                pause = min(2 * pause, _MAX_PAUSE)
        return end

    async def _runs(self, workflow_id: str) -> set[str]:
        """Every run of it that Temporal has: an earlier one may have failed, or have been reset."""
        current = await describe(self._temporal.get_workflow_handle(workflow_id))
        listed = self._temporal.list_workflows(_query_for(workflow_id), rpc_timeout=RPC_TIMEOUT)
        runs = {each.run_id async for each in listed if each.id == workflow_id}
        return runs if current is None else {*runs, current.run_id}

    async def _end(self, workflow_id: str) -> "_End":
        """Return once it does not run."""
        handle = self._temporal.get_workflow_handle(workflow_id)
        if not await self._is_running(handle):
            return _End.ANSWERED
        end = _End.UNANSWERED
        # Whatever else it answers: what counts is whether it still runs.
        with contextlib.suppress(*_NO_ANSWERS):
            if await self._ask_to_end(handle):
                await self._closed(handle)
            else:
                end = _End.ANSWERED  # and need not be awaited
        if not await self._is_running(handle):
            return _End.ANSWERED
        if workflow_id.startswith(_MESSAGE):
            await self._block(message_id_of(workflow_id))
        try:
            await handle.terminate(reason=_REASON, rpc_timeout=RPC_TIMEOUT)
        except RPCError as error:
            if not is_workflow_missing(error):
                raise
        return end

    async def _ask_to_end(self, handle: WorkflowHandle[Any, Any]) -> bool:
        """Cancel or discard it; False if it is a message that Twilio has."""
        if handle.id.startswith(_MESSAGE):
            message = self._messages.message(message_id_of(handle.id))
            canceling = message.cancel(by=self._by, reason=_REASON)
            return (await answer(canceling, within=self._within)).canceled
        if handle.id.startswith(_DEAD_LETTER):
            discard = Resolution(action="discard", by=self._by, note=_REASON)
            message_id = message_id_of(handle.id)
            await resolve(self._temporal, message_id, discard, within=self._within)
        else:
            await handle.cancel(rpc_timeout=RPC_TIMEOUT)
        return True

    async def _closed(self, handle: WorkflowHandle[Any, Any]) -> None:
        async with asyncio.timeout(self._within):
            with contextlib.suppress(WorkflowFailureError):
                await handle.result()

    async def _is_running(self, handle: WorkflowHandle[Any, Any]) -> bool:
        description = await describe(handle)
        return description is not None and description.status is WorkflowExecutionStatus.RUNNING

    async def _delete(self, workflow_id: str, run_id: str) -> None:
        request = DeleteWorkflowExecutionRequest(
            namespace=self._temporal.namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
        )
        try:
            await self._temporal.workflow_service.delete_workflow_execution(
                request, timeout=RPC_TIMEOUT
            )
        except RPCError as error:
            if not is_workflow_missing(error):  # it is being deleted
                raise


@contextlib.asynccontextmanager
async def _deletion_limit() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(_DELETION_SECONDS):
            yield
    except TimeoutError:
        raise Unconfirmed(
            "Temporal has not deleted every history yet. Run it again; what is done stays done."
        ) from None


def _query_for(workflow_id: str) -> str:
    """Finds the workflow, and others too if its id has a quote or a backslash.

    Temporal compares with such a character's escaped form, so that it would not be found.
    """
    plain = re.split(r"[\"'\\]", workflow_id, maxsplit=1)[0]
    operator = "=" if plain == workflow_id else "STARTS_WITH"
    return f"WorkflowId {operator} '{plain}'"


def _kind(workflow_id: str) -> str:
    return next(kind for prefix, kind in _KINDS.items() if workflow_id.startswith(prefix))


async def _all(
    call: Callable[[_Item], Awaitable[_Result]], items: Iterable[_Item]
) -> list[_Result]:
    """The results, in order; some at a time."""
    free = asyncio.Semaphore(_CONCURRENT)

    async def one(item: _Item) -> _Result:
        async with free:
            return await call(item)

    return await asyncio.gather(*map(one, items))
