"""Worker Versioning: several versions of the worker at once, and which of them does what."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import RoutingConfigUpdateState
from temporalio.api.workflowservice.v1 import DescribeWorkerDeploymentRequest
from temporalio.client import WorkflowHandle

from devtools.sandbox.client import Step
from devtools.stack.local import LocalStack
from devtools.stack.processes import basic_environment
from signedfor.contract import (
    RESOLVE_UPDATE,
    DeadLetterOutcome,
    DeadLetterReport,
    Outcome,
    Resolution,
    Stage,
)
from tests.fixtures.stack import NewNumber, silent_stack
from tests.integration.support import Caller, Sent, temporal, until
from tests.worker_process import Worker

pytestmark = pytest.mark.integration

DEPLOYMENT = "signedfor"
UNVERSIONED = ""
REFUSED: Step = {"respond": "error", "code": 21408, "http_status": 400}


@contextmanager
def _another_worker(stack: LocalStack, build_id: str) -> Iterator[Worker]:
    """A worker beside the stack's own, of this version."""
    variables = {
        **basic_environment(stack.folder),
        **stack.settings,
        "TEMPORAL_DEPLOYMENT_NAME": DEPLOYMENT,
        "TEMPORAL_WORKER_BUILD_ID": build_id,
    }
    with Worker(variables, stack.folder / "logs" / f"worker-{build_id}.log") as worker:
        yield worker.ready()


async def _make_current(stack: LocalStack, build_id: str) -> None:
    """What an operator runs, repeated until the server knows the new worker's queues."""
    version = ("--build-id", build_id) if build_id else ("--unversioned",)

    async def done() -> bool:
        ended = await temporal(
            stack,
            *("worker", "deployment", "set-current-version", "--yes"),
            *("--deployment-name", DEPLOYMENT, *version),
        )
        return ended.exit_code == 0

    what = f"version {build_id or 'unversioned'} to be current"
    await until(done, what)
    client = await stack.client()
    asked = DescribeWorkerDeploymentRequest(namespace=client.namespace, deployment_name=DEPLOYMENT)

    async def known_everywhere() -> bool:
        """Until then a new workflow may still start on the previous version."""
        answer = await client.workflow_service.describe_worker_deployment(asked)
        state = answer.worker_deployment_info.routing_config_update_state
        return state == RoutingConfigUpdateState.ROUTING_CONFIG_UPDATE_STATE_COMPLETED

    await until(known_everywhere, what)


async def _versions(handle: WorkflowHandle[Any, Any]) -> set[str]:
    """The build ids of all workers that a workflow ran on."""
    history = await handle.fetch_history()
    return {
        event.workflow_task_completed_event_attributes.deployment_version.build_id
        for event in history.events
        if event.HasField("workflow_task_completed_event_attributes")
    }


async def _processes(handle: WorkflowHandle[Any, Any]) -> set[str]:
    """The processes that a workflow's tasks and its activities ran in."""
    history = await handle.fetch_history()
    return {
        done.identity
        for event in history.events
        for done in (
            event.workflow_task_completed_event_attributes,
            event.activity_task_completed_event_attributes,
        )
        if done.identity
    }


async def _submitted(caller: Caller, new_number: NewNumber, count: int = 3) -> list[Sent]:
    """Messages that Twilio has accepted and that wait for their receipts."""
    sent = [await caller.send(new_number()) for _ in range(count)]
    for each in sent:
        await each.reaches(Stage.AWAITING_RECEIPT)
    return sent


async def test_a_rolling_deployment_and_its_roll_back(
    tmp_path: Path, new_number: NewNumber
) -> None:
    """Messages end on the version they started on, dead letters on the current one.

    Version A has messages that wait for their receipts; B comes beside it and is made current; then
    A is made current again while B's messages wait.
    """
    with silent_stack(
        tmp_path, TEMPORAL_DEPLOYMENT_NAME=DEPLOYMENT, TEMPORAL_WORKER_BUILD_ID="A"
    ) as stack:
        caller = Caller(stack=stack, client=await stack.client())
        stack.sandbox.settings(hold=True)
        early = await caller.send(new_number())
        await _make_current(stack, "A")
        await early.reaches(Stage.AWAITING_RECEIPT)
        on_a = [early, *await _submitted(caller, new_number)]
        refused = [await caller.send(new_number(), REFUSED) for _ in range(2)]
        for each in refused:
            assert Outcome.FAILED is (await each.report()).outcome

        with _another_worker(stack, "B") as worker_b:
            await _make_current(stack, "B")
            on_b = await _submitted(caller, new_number)
            retried = await _retry(refused[0])

            await _make_current(stack, "A")
            on_a += await _submitted(caller, new_number)
            retried_after = await _retry(refused[1])

            stack.sandbox.settings(hold=False)
            reports = [await each.report() for each in (*on_a, *on_b, retried, retried_after)]
            worker_b.process.terminate()
            assert 0 == worker_b.exit_code()

        assert {Outcome.DELIVERED} == {each.outcome for each in reports}
        assert [1] * len(reports) == [
            len(each.accepted()) for each in (*on_a, *on_b, retried, retried_after)
        ]
        assert [{"A"}] * len(on_a) == [await _versions(each.handle) for each in on_a]
        # The POST too is the version's own, though it is on another queue.
        [process_a] = await _processes(on_a[0].handle)
        [process_b] = await _processes(on_b[0].handle)
        assert [{process_a}] * len(on_a) == [await _processes(each.handle) for each in on_a]
        assert [{process_b}] * len(on_b) == [await _processes(each.handle) for each in on_b]
        assert process_a != process_b
        assert [{"B"}] * len(on_b) == [await _versions(each.handle) for each in on_b]
        # The dead letters were opened on A, like their messages. The first was resolved on B.
        assert {"A", "B"} == await _versions(refused[0].dead_letter_handle)
        assert {"B"} == await _versions(retried.handle)
        assert {"A"} == await _versions(refused[1].dead_letter_handle)
        assert {"A"} == await _versions(retried_after.handle)


async def _retry(refused: Sent) -> Sent:
    """Retry a dead letter; return the new message."""
    report = await refused.dead_letter_handle.execute_update(
        RESOLVE_UPDATE, Resolution(action="retry"), result_type=DeadLetterReport
    )
    assert DeadLetterOutcome.RETRIED is report.outcome
    assert report.retried_as is not None
    retried = Sent(
        message_id=report.retried_as, to=refused.to, stack=refused.stack, client=refused.client
    )
    await retried.reaches(Stage.AWAITING_RECEIPT)
    return retried


async def test_a_new_version_waits_until_it_is_current(
    tmp_path: Path, new_number: NewNumber
) -> None:
    """Versioning is turned on and off: nothing is lost, and no version acts before it is current.

    Without a version workers do everything until one is made current. What waits then goes over to
    it with its next step, and what is new begins on it.
    """
    with silent_stack(tmp_path) as stack:
        caller = Caller(stack=stack, client=await stack.client())
        stack.sandbox.settings(hold=True)
        with _another_worker(stack, "A"):
            before = await _submitted(caller, new_number)
            assert [{UNVERSIONED}] * 3 == [await _versions(each.handle) for each in before]

            await _make_current(stack, "A")
            after = await _submitted(caller, new_number)
            stack.sandbox.settings(hold=False)
            reports = [await each.report() for each in (*before, *after)]
            assert [{UNVERSIONED, "A"}] * 3 == [await _versions(each.handle) for each in before]
            assert [{"A"}] * 3 == [await _versions(each.handle) for each in after]

            await _make_current(stack, UNVERSIONED)
            last = await caller.send(new_number())
            reports.append(await last.report())
            assert {UNVERSIONED} == await _versions(last.handle)

        assert {Outcome.DELIVERED} == {each.outcome for each in reports}
        assert [1] * 7 == [len(each.accepted()) for each in (*before, *after, last)]
