"""What Temporal's SDK passes to a codec: everything that a workflow can write."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
    ListWorkflowExecutionsRequest,
    QueryWorkflowRequest,
)
from temporalio.client import Client, WorkflowFailureError
from temporalio.common import (
    RetryPolicy,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
)
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from signedfor.encryption import Encryption, encrypting
from tests.encryption import KEYS
from tests.integration.support import until

pytestmark = pytest.mark.integration

CANARY = "quietly"
SEARCHED = "searched-in-clear"
_QUEUE = "canaries"
_KEY = SearchAttributeKey.for_keyword("MessageStatus")


@activity.defn
def beats(text: str) -> str:
    """Fail once after a heartbeat, then return."""
    if activity.info().heartbeat_details:
        return f"{CANARY} result of {text}"
    activity.heartbeat(f"{CANARY} heartbeat")
    raise ApplicationError(f"{CANARY} failure", f"{CANARY} detail", type="Expected")


@activity.defn
def returns(text: str) -> str:
    """Return at once."""
    return f"{CANARY} result of {text}"


@workflow.defn
class Child:
    """Fails with a text, a detail and a cause."""

    @workflow.run
    async def run(self, text: str) -> str:
        """Fail."""
        try:
            raise ValueError(f"{CANARY} cause")  # noqa: TRY301 - for its traceback
        except ValueError as error:
            raise ApplicationError(f"{CANARY} child {text}", {"to": CANARY}) from error


@workflow.defn
class Writes:
    """Writes the canary wherever a workflow can write."""

    def __init__(self) -> None:
        self._heard = ""

    @workflow.run
    async def run(self, text: str) -> str:
        """Write, and wait to be told that it is enough."""
        workflow.set_current_details(f"{CANARY} current details")
        workflow.upsert_memo({"later": f"{CANARY} memo"})
        await workflow.execute_local_activity(
            returns, text, start_to_close_timeout=timedelta(seconds=10), summary=f"{CANARY} local"
        )
        await workflow.execute_activity(
            beats,
            text,
            start_to_close_timeout=timedelta(seconds=10),
            heartbeat_timeout=timedelta(seconds=10),
            retry_policy=RetryPolicy(initial_interval=timedelta(seconds=0.1)),
            summary=f"{CANARY} activity",
        )
        await workflow.sleep(0.01, summary=f"{CANARY} timer")
        try:
            await workflow.execute_child_workflow(
                Child.run,
                text,
                id=f"{workflow.info().workflow_id}-child",
                memo={"child": f"{CANARY} memo"},
                static_summary=f"{CANARY} child summary",
                static_details=f"{CANARY} child details",
            )
        except Exception as error:
            await workflow.wait_condition(lambda: bool(self._heard))
            raise ApplicationError(f"{CANARY} end {self._heard}") from error
        return ""

    @workflow.signal
    def hear(self, text: str) -> None:
        """Go on."""
        self._heard = text

    @workflow.update
    def change(self, text: str) -> str:
        """Answer."""
        return f"{CANARY} answer to {text}"

    @change.validator
    def _check(self, text: str) -> None:
        if text.endswith("refused"):
            raise ApplicationError(f"{CANARY} refusal")

    @workflow.query
    def look(self, text: str = "nothing") -> str:
        """Answer."""
        return f"{CANARY} answer to {text}"


async def _raw(client: Client, workflow_id: str) -> bytes:
    """Everything that the server returns of a workflow."""
    service, namespace = client.workflow_service, client.namespace
    execution = WorkflowExecution(workflow_id=workflow_id)
    query = f"WorkflowId = '{workflow_id}'"
    answers = (
        await service.get_workflow_execution_history(
            GetWorkflowExecutionHistoryRequest(namespace=namespace, execution=execution)
        ),
        await service.describe_workflow_execution(
            DescribeWorkflowExecutionRequest(namespace=namespace, execution=execution)
        ),
        await service.list_workflow_executions(
            ListWorkflowExecutionsRequest(namespace=namespace, query=query)
        ),
    )
    return b"".join(each.SerializeToString() for each in answers)


async def _answer(client: Client, workflow_id: str, name: str) -> bytes:
    """The server's raw answer to a query, such as that for the current details."""
    answer = await client.workflow_service.query_workflow(
        QueryWorkflowRequest(
            namespace=client.namespace,
            execution=WorkflowExecution(workflow_id=workflow_id),
            query=WorkflowQuery(query_type=name),
        )
    )
    return answer.SerializeToString()


async def _with_key(temporal: Client) -> Client:
    config = temporal.config()
    config["data_converter"] = encrypting(Encryption.parse(KEYS), temporal.namespace)
    return Client(**config)


async def test_everything_that_a_workflow_writes_is_encrypted(temporal: Client) -> None:
    """And can be read with the key; only search attributes are in clear."""
    client = await _with_key(temporal)
    with ThreadPoolExecutor(4) as threads:
        async with Worker(
            client,
            task_queue=_QUEUE,
            workflows=[Writes, Child],
            activities=[beats, returns],
            activity_executor=threads,
            workflow_runner=UnsandboxedWorkflowRunner(),
        ):
            handle = await client.start_workflow(
                Writes.run,
                f"{CANARY} input",
                id="writes",
                task_queue=_QUEUE,
                memo={"start": f"{CANARY} memo"},
                static_summary=f"{CANARY} summary",
                static_details=f"{CANARY} details",
                search_attributes=TypedSearchAttributes([SearchAttributePair(_KEY, SEARCHED)]),
            )
            changed = await handle.execute_update(Writes.change, f"{CANARY} update")
            looked = await handle.query(Writes.look, f"{CANARY} query")
            with pytest.raises(Exception, match="update failed"):
                await handle.execute_update(Writes.change, f"{CANARY} refused")

            async def details() -> bytes | None:
                answer = await _answer(client, "writes", "__temporal_workflow_metadata")
                return answer if b"binary/encrypted" in answer else None

            answers = [await until(details, "details"), await _answer(client, "writes", "look")]
            traces = await _answer(client, "writes", "__stack_trace")
            await handle.signal(Writes.hear, f"{CANARY} signal")
            async with asyncio.timeout(30):
                with pytest.raises(WorkflowFailureError) as failed:
                    await handle.result()

    description = await handle.describe()
    raw = {name: await _raw(client, name) for name in ("writes", "writes-child")}
    assert [] == [name for name, each in raw.items() if CANARY.encode() in each]
    assert [] == [name for name, each in raw.items() if b'File "' in each]
    assert [] == [each for each in (*answers, traces) if CANARY.encode() in each]
    assert b"File " not in traces
    assert SEARCHED.encode() in raw["writes"]
    assert all(each.count(b"binary/encrypted") > 2 for each in raw.values())
    # It can all be read.
    memo = await description.memo()
    assert {f"{CANARY} memo"} == {memo["start"], memo["later"]}
    assert f"{CANARY} summary" == await description.static_summary()
    assert f"{CANARY} details" == await description.static_details()
    assert f"{CANARY} answer to {CANARY} update" == changed
    assert f"{CANARY} answer to {CANARY} query" == looked
    assert [
        f"{CANARY} end {CANARY} signal",
        "Child Workflow execution failed",
        f"{CANARY} child {CANARY} input",
        f"{CANARY} cause",
    ] == _messages(failed.value.cause)


def _messages(error: Any) -> list[str]:
    found = []
    while error is not None:
        found.append(error.message)
        error = error.__cause__
    return found
