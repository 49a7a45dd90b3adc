"""Several versions of the worker at once, as Worker Versioning knows them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from temporalio.api.enums.v1 import RoutingConfigUpdateState
from temporalio.api.workflowservice.v1 import DescribeWorkerDeploymentRequest
from temporalio.client import WorkflowHandle

from devtools.stack.local import LocalStack
from devtools.stack.processes import basic_environment
from signedfor.contract import Stage
from tests.fixtures.stack import NewNumber
from tests.integration.support import Caller, Sent, temporal, until
from tests.worker_process import ROOT, Worker

DEPLOYMENT = "signedfor"
UNVERSIONED = ""


@contextmanager
def another_worker(stack: LocalStack, build_id: str, *, source: Path = ROOT) -> Iterator[Worker]:
    """A worker beside the stack's own, of this version, whose code is in this folder."""
    variables = {
        **basic_environment(stack.folder),
        **stack.settings,
        "TEMPORAL_DEPLOYMENT_NAME": DEPLOYMENT,
        "TEMPORAL_WORKER_BUILD_ID": build_id,
    }
    log = stack.folder / "logs" / f"worker-{build_id}.log"
    with Worker(variables, log, source=source) as worker:
        yield worker.ready()


async def make_current(stack: LocalStack, build_id: str) -> None:
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


async def versions(handle: WorkflowHandle[Any, Any]) -> set[str]:
    """The build ids of all workers that a workflow ran on."""
    history = await handle.fetch_history()
    return {
        event.workflow_task_completed_event_attributes.deployment_version.build_id
        for event in history.events
        if event.HasField("workflow_task_completed_event_attributes")
    }


async def submitted(caller: Caller, new_number: NewNumber, count: int = 3) -> list[Sent]:
    """Messages that Twilio has accepted and that wait for their receipts."""
    sent = [await caller.send(new_number()) for _ in range(count)]
    for each in sent:
        await each.reaches(Stage.AWAITING_RECEIPT)
    return sent
