"""Worker Versioning: several versions of the worker at once, and which of them does what."""

from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowHandle

from devtools.sandbox.client import Step
from signedfor.contract import (
    RESOLVE_UPDATE,
    DeadLetterOutcome,
    DeadLetterReport,
    Outcome,
    Resolution,
    Stage,
)
from tests.fixtures.stack import NewNumber, silent_stack
from tests.integration.deployments import (
    DEPLOYMENT,
    UNVERSIONED,
    another_worker,
    make_current,
    submitted,
    versions,
)
from tests.integration.support import Caller, Sent

pytestmark = pytest.mark.integration

REFUSED: Step = {"respond": "error", "code": 21408, "http_status": 400}


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
        await make_current(stack, "A")
        await early.reaches(Stage.AWAITING_RECEIPT)
        on_a = [early, *await submitted(caller, new_number)]
        refused = [await caller.send(new_number(), REFUSED) for _ in range(2)]
        for each in refused:
            assert Outcome.FAILED is (await each.report()).outcome

        with another_worker(stack, "B") as worker_b:
            await make_current(stack, "B")
            on_b = await submitted(caller, new_number)
            retried = await _retry(refused[0])

            await make_current(stack, "A")
            on_a += await submitted(caller, new_number)
            retried_after = await _retry(refused[1])

            stack.sandbox.settings(hold=False)
            reports = [await each.report() for each in (*on_a, *on_b, retried, retried_after)]
            worker_b.process.terminate()
            assert 0 == worker_b.exit_code()

        assert {Outcome.DELIVERED} == {each.outcome for each in reports}
        assert [1] * len(reports) == [
            len(each.accepted()) for each in (*on_a, *on_b, retried, retried_after)
        ]
        assert [{"A"}] * len(on_a) == [await versions(each.handle) for each in on_a]
        # The POST too is the version's own, though it is on another queue.
        [process_a] = await _processes(on_a[0].handle)
        [process_b] = await _processes(on_b[0].handle)
        assert [{process_a}] * len(on_a) == [await _processes(each.handle) for each in on_a]
        assert [{process_b}] * len(on_b) == [await _processes(each.handle) for each in on_b]
        assert process_a != process_b
        assert [{"B"}] * len(on_b) == [await versions(each.handle) for each in on_b]
        # The dead letters were opened on A, like their messages. The first was resolved on B.
        assert {"A", "B"} == await versions(refused[0].dead_letter_handle)
        assert {"B"} == await versions(retried.handle)
        assert {"A"} == await versions(refused[1].dead_letter_handle)
        assert {"A"} == await versions(retried_after.handle)


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
        with another_worker(stack, "A"):
            before = await submitted(caller, new_number)
            assert [{UNVERSIONED}] * 3 == [await versions(each.handle) for each in before]

            await make_current(stack, "A")
            after = await submitted(caller, new_number)
            stack.sandbox.settings(hold=False)
            reports = [await each.report() for each in (*before, *after)]
            assert [{UNVERSIONED, "A"}] * 3 == [await versions(each.handle) for each in before]
            assert [{"A"}] * 3 == [await versions(each.handle) for each in after]

            await make_current(stack, UNVERSIONED)
            last = await caller.send(new_number())
            reports.append(await last.report())
            assert {UNVERSIONED} == await versions(last.handle)

        assert {Outcome.DELIVERED} == {each.outcome for each in reports}
        assert [1] * 7 == [len(each.accepted()) for each in (*before, *after, last)]
