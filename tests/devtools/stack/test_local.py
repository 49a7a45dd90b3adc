from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest

from devtools.stack.local import LocalStack
from devtools.stack.processes import ProcessDied, StackError
from devtools.stack.temporal_server import NAMESPACE
from signedfor.client import Client
from signedfor.contract import Outcome
from signedfor.search_attributes import SEARCH_ATTRIBUTES
from tests.devtools.stack.support import wait_for

pytestmark = pytest.mark.integration

_RECIPIENT = "+15558670199"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """Run a stack for the tests of this module."""
    with LocalStack(tmp_path_factory.mktemp("stack")) as running:
        yield running


async def test_the_namespace_is_configured(stack: LocalStack) -> None:
    """Closed runs are kept for 30 days, and every search attribute is registered."""
    client = await stack.client()
    described = await client.workflow_service.describe_namespace(
        DescribeNamespaceRequest(namespace=NAMESPACE)
    )
    listed = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=NAMESPACE)
    )

    kept = described.config.workflow_execution_retention_ttl.ToTimedelta()
    assert timedelta(days=30) == kept
    wanted = {key.name: int(key.indexed_value_type) for key in SEARCH_ATTRIBUTES}
    assert wanted == dict(listed.custom_attributes)


async def test_a_message_survives_kills(stack: LocalStack) -> None:
    """It is delivered once, although worker, server and webhook are killed before that."""
    client = Client(await stack.client())
    stack.sandbox.settings(hold=True)
    message = await client.send({"to": _RECIPIENT, "body": "Hold on."}, message_id="held")
    wait_for(lambda: bool(stack.sandbox.ledger(to=_RECIPIENT)["accepted"]), "the message")

    for part in (stack.worker, stack.webhook, stack.temporal):
        part.kill()
    for part in (stack.temporal, stack.worker, stack.webhook):
        part.start()
    stack.sandbox.settings(hold=False)
    report = await message.report()

    assert Outcome.DELIVERED is report.outcome
    assert 1 == len(stack.sandbox.ledger(to=_RECIPIENT)["accepted"])


async def test_the_sandbox_keeps_its_state(stack: LocalStack) -> None:
    """A sandbox that is killed and restarted still has what it accepted."""
    client = Client(await stack.client())
    await (await client.send({"to": "+15558670198", "body": "Keep this."})).report()
    assert stack.twilio is not None

    stack.twilio.kill()
    stack.twilio.start()

    assert 1 == len(stack.sandbox.ledger(to="+15558670198")["accepted"])


def test_two_stacks_do_not_share_a_folder(stack: LocalStack) -> None:
    """A second stack in the same folder is refused, before it can touch a file."""
    with pytest.raises(StackError, match=r"Another stack is running in .*DATA_DIR"):
        LocalStack(stack.folder).start()

    stack.check()


def test_a_part_that_dies_is_named(stack: LocalStack) -> None:
    """The error names the part that has exited."""
    stack.webhook.kill()
    stack.webhook._environment["PUBLIC_BASE_URL"] = "nonsense"
    try:
        with pytest.raises(ProcessDied, match=r"(?s)webhook exited unexpectedly.*PUBLIC_BASE_URL"):
            stack.webhook.start()
        with pytest.raises(ProcessDied, match="The webhook exited unexpectedly"):
            stack.check()
    finally:
        stack.webhook._environment["PUBLIC_BASE_URL"] = stack.webhook_url
        stack.webhook.restart()


def test_started_parts_are_stopped_if_another_fails(tmp_path: Path) -> None:
    """If one part fails to start, the others are stopped and the error gives the reason."""
    stack = LocalStack(tmp_path, settings={"DATABASE_URL": "mysql://nowhere"})

    with pytest.raises(StackError, match=r"(?s)migrations failed.*DATABASE_URL"):
        stack.start()

    assert not any(process.is_running for process in stack.processes)
    with pytest.raises(StackError, match="no sandbox"):
        _ = stack.sandbox
