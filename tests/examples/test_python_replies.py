import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from temporalio.client import Client

from devtools.sandbox.magic import GOOD_SENDER
from devtools.stack.local import LocalStack
from signedfor.contract import Outcome, inbound_workflow_id, message_workflow_id
from tests.examples.support import ROOT
from tests.fixtures.stack import NewNumber, silent_stack
from tests.integration.support import Caller, payload_settings, undispatched, until_true

pytestmark = pytest.mark.integration

_PROGRAM = ROOT / "examples/python/replies.py"
_SETTINGS = {"INBOUND_WORKFLOW": "AnswerReply", "INBOUND_TASK_QUEUE": "replies"}


@contextmanager
def _running(stack: LocalStack) -> Iterator[None]:
    """The service as a process, once it serves."""
    with subprocess.Popen(
        [sys.executable, _PROGRAM],
        env={
            "PATH": "/usr/bin:/bin",
            "TEMPORAL_ADDRESS": stack.temporal.address,
            **payload_settings(stack),
        },
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            assert "answering replies on task queue replies\n" == process.stdout.readline()
            yield
        finally:
            process.terminate()


@pytest.fixture
async def caller(tmp_path: Path) -> AsyncIterator[Caller]:
    """A caller of a stack that starts the service's workflow, and the service."""
    with silent_stack(tmp_path, **_SETTINGS) as stack, _running(stack):
        yield Caller(stack=stack, client=await stack.client())


async def _result(client: Client, sid: str) -> str:
    handle = client.get_workflow_handle(inbound_workflow_id(sid))
    return str(await handle.result())


async def test_a_reply_is_answered(caller: Caller, new_number: NewNumber) -> None:
    """About the order in it, or that of the last message; opt-outs and greetings are left alone."""
    stack, customer, stranger = caller.stack, new_number(), new_number()
    await (await caller.send(customer, message_id="order-1041-shipped")).report()

    def says(person: str, text: str) -> str:
        return stack.sandbox.inbound(person, GOOD_SENDER, text)["sid"]

    texts = [(customer, "Where is it?"), (customer, "and order 77?"), (stranger, "hi")]
    sids = [says(person, text) for person, text in texts]
    results = []
    for sid in sids:
        await until_true(lambda: not undispatched(stack), "the workflows to start")
        results.append(await _result(caller.client, sid))
    reports = [
        await caller.client.get_workflow_handle(message_workflow_id(f"answer-{sid}")).result()
        for sid in sids[:2]
    ]
    stopped = says(customer, "STOP")
    await until_true(lambda: not undispatched(stack), "the workflow to start")

    assert ["answered about order 1041", "answered about order 77", "left to a person"] == results
    assert "nothing to do: stop" == await _result(caller.client, stopped)
    assert [Outcome.DELIVERED] * 2 == [report["outcome"] for report in reports]
    accepted = [row["body"] for row in stack.sandbox.ledger(to=customer)["accepted"]]
    assert ["Order 1041 is on its way.", "Order 77 is on its way."] == sorted(accepted[1:])
    assert [] == stack.sandbox.ledger(to=stranger)["accepted"]
