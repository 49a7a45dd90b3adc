"""Ending and deleting workflows, on a real Temporal without a worker."""

import asyncio
from datetime import timedelta

import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import WorkflowIDReusePolicy

from signedfor.client import Client as SignedforClient
from signedfor.erasure.workflows import PersonWorkflows, Removed, workflow_ids
from signedfor.workflow_calls import describe

pytestmark = pytest.mark.integration

_SID = "SM" + "0" * 32


def _workflows(temporal: Client, blocked: dict[str, object]) -> PersonWorkflows:
    async def block(message_id: str) -> None:
        found = await describe(temporal.get_workflow_handle(f"message:{message_id}"))
        blocked[message_id] = found and found.status

    return PersonWorkflows(temporal, by="test", block=block, within=1)


def test_the_workflows_of_a_person_are_known_by_their_messages() -> None:
    """A retry's dead letter, and that of the message that it retries, which may name it."""
    assert [
        "message:m.retry-1",
        "dead-letter:m",
        "dead-letter:m.retry-1",
        f"inbound:{_SID}",
        f"record-inbound:{_SID}",
    ] == workflow_ids({"m.retry-1"}, {_SID})


async def test_a_message_is_blocked_before_it_is_terminated(temporal: Client) -> None:
    """A worker may be about to send it: after that none can begin a POST."""
    message = await SignedforClient(temporal).send(
        {"to": "+15558675309", "from": "+15005550006", "body": "x"}
    )
    blocked: dict[str, object] = {}

    removed = await _workflows(temporal, blocked).remove([f"message:{message.message_id}"])

    assert {message.message_id: WorkflowExecutionStatus.RUNNING} == blocked
    assert Removed(counts=removed.counts, unanswered=frozenset({message.message_id})) == removed
    assert {"messages": 1} == removed.counts
    assert await describe(message.handle) is None


async def test_every_run_is_deleted(temporal: Client) -> None:
    """Yours too, whatever their type: an earlier run has the text as well."""
    ids = [f"inbound:{_SID}", f"record-inbound:{_SID}", "dead-letter:m", "message:none"]
    for _ in range(2):
        handles = [
            await temporal.start_workflow(
                "Yours",
                "a text",
                id=each,
                task_queue="nobody",
                run_timeout=timedelta(minutes=1),
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            )
            for each in ids[:3]
        ]
        if _ == 0:
            await asyncio.gather(*(each.terminate() for each in handles))
    blocked: dict[str, object] = {}
    workflows = _workflows(temporal, blocked)
    there = {"inbound_workflows": 1, "inbound_records": 1, "dead_letters": 1}

    assert there == await workflows.count(ids)
    removed = await workflows.remove(ids)

    assert (there, frozenset(), {}) == (removed.counts, removed.unanswered, blocked)
    assert {} == await workflows.count(ids)
    assert [] == [each async for each in temporal.list_workflows("WorkflowType = 'Yours'")]
    assert Removed(counts=type(removed.counts)(), unanswered=frozenset()) == await workflows.remove(
        ids
    )


@pytest.mark.parametrize("name", ["it's", "a''b", 'a"b', "a\\b", "a\\", "a\\'b", "50%_off`"])
async def test_every_run_of_any_id_is_found(temporal: Client, name: str) -> None:
    """An id may have quotes and backslashes, which have a meaning in Temporal's queries."""
    workflow_id = f"message:{name}"
    for _ in range(2):
        handle = await temporal.start_workflow(
            "Yours",
            id=workflow_id,
            task_queue="nobody",
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        )
        await handle.terminate()

    removed = await _workflows(temporal, {}).remove([workflow_id])

    assert {"messages": 1} == removed.counts
    left = temporal.list_workflows("WorkflowType = 'Yours'")
    assert [] == [each.id async for each in left if each.id == workflow_id]
