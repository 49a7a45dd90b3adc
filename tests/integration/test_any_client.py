import asyncio
import json
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.exceptions import WorkflowAlreadyStartedError

from devtools.sandbox.magic import GOOD_SENDER
from devtools.stack.local import LocalStack
from signedfor.client import CONFLICT_POLICY, REUSE_POLICY
from signedfor.contract import (
    MESSAGES_QUEUE,
    SEND_MESSAGE,
    MessageRequest,
    Outcome,
    message_workflow_id,
)
from tests.fixtures.stack import TEXT, NewNumber
from tests.integration.support import Caller, Sent, new_id, signedfor, start_by_command

pytestmark = pytest.mark.integration

_ONCE = ("--id-reuse-policy", "AllowDuplicateFailedOnly", "--id-conflict-policy", "UseExisting")
_ITS_OWN = {"message_id", "message_sid", "submitted_at", "finished_at"}
"""What differs between two messages with the same outcome."""


async def test_all_clients_have_the_same_result(
    stack: LocalStack, caller: Caller, new_number: NewNumber
) -> None:
    """Temporal's CLI, a plain SDK with a dict, our models and `signedfor send` act alike."""
    sent = [
        Sent(message_id=new_id(), to=new_number(), stack=stack, client=caller.client)
        for _ in range(4)
    ]
    by_cli, by_dict, by_model, by_signedfor = sent
    plain = await Client.connect(stack.temporal.address)
    document = json.dumps({"to": by_cli.to, "from": GOOD_SENDER, "body": TEXT})
    fields = {"to": by_dict.to, "from": GOOD_SENDER, "body": TEXT}
    request = MessageRequest(to=by_model.to, sender=GOOD_SENDER, body=TEXT)

    commands = await asyncio.gather(
        start_by_command(stack, by_cli.handle.id, document, options=_ONCE),
        signedfor(
            stack,
            *("send", by_signedfor.to, "--from", GOOD_SENDER, "--body", TEXT),
            *("--id", by_signedfor.message_id),
        ),
    )
    for client, message, argument in (
        (plain, by_dict, fields),
        (caller.client, by_model, request),
    ):
        await client.start_workflow(
            SEND_MESSAGE, argument, id=message.handle.id, task_queue=MESSAGES_QUEUE
        )
    # A client without the key starts messages, and cannot read what became of them.
    with pytest.raises(KeyError, match="binary/encrypted"):
        await plain.get_workflow_handle(by_dict.handle.id).result()
    reports: list[dict[str, Any]] = [
        await caller.client.get_workflow_handle(each.handle.id, result_type=dict).result()
        for each in sent
    ]

    assert [0, 0] == [each.exit_code for each in commands], commands
    assert Outcome.DELIVERED.value == reports[0]["outcome"]
    assert [each.message_id for each in sent] == [each["message_id"] for each in reports]
    assert 4 == len({each["message_sid"] for each in reports})
    comparable = [
        {name: value for name, value in each.items() if name not in _ITS_OWN} for each in reports
    ]
    assert [comparable[0]] * 4 == comparable
    for each in sent:
        [row] = each.accepted()
        assert (GOOD_SENDER, TEXT) == (row["from"], row["body"])
        assert [] == each.refused()


async def test_an_id_sends_once(stack: LocalStack, caller: Caller, new_number: NewNumber) -> None:
    """Started again in any way, while it runs or after it ended, nothing is sent again."""
    sent = await caller.send(new_number(), {"callbacks": {"delay": 2}})
    workflow_id = message_workflow_id(sent.message_id)
    document = json.dumps({"to": sent.to, "body": TEXT})
    other = json.dumps({"to": sent.to, "body": f"{TEXT} And another one."})
    run_id = (await sent.handle.describe()).run_id

    async def again() -> str | None:
        handle = await caller.client.start_workflow(
            SEND_MESSAGE,
            MessageRequest(to=sent.to, body=TEXT),
            id=workflow_id,
            task_queue=MESSAGES_QUEUE,
            id_conflict_policy=CONFLICT_POLICY,
            id_reuse_policy=REUSE_POLICY,
        )
        return handle.result_run_id

    same_runs = await asyncio.gather(*(again() for _ in range(10)))
    while_it_runs = await asyncio.gather(
        start_by_command(stack, workflow_id, document, options=_ONCE),
        start_by_command(stack, workflow_id, other, options=_ONCE),
        signedfor(stack, "send", sent.to, "--body", TEXT, "--id", sent.message_id, "--json"),
    )
    report = await sent.report()
    with pytest.raises(WorkflowAlreadyStartedError):
        await again()
    by_cli, by_signedfor = await asyncio.gather(
        start_by_command(stack, workflow_id, document, options=_ONCE),
        signedfor(stack, "send", sent.to, "--body", TEXT, "--id", sent.message_id, "--json"),
    )

    assert {run_id} == set(same_runs)
    assert [0, 0, 0] == [each.exit_code for each in while_it_runs], while_it_runs
    assert all(run_id in each.stdout for each in while_it_runs[:2])
    assert "earlier" == while_it_runs[2].document["accepted"]
    assert Outcome.DELIVERED is report.outcome
    # Temporal's CLI reports no error for that: it names the earlier run.
    assert run_id in by_cli.stdout
    assert (0, "earlier") == (by_signedfor.exit_code, by_signedfor.document["accepted"])
    assert report.message_sid == by_signedfor.document["report"]["message_sid"]
    assert run_id == (await sent.handle.describe()).run_id
    assert (1, 0) == (len(sent.accepted()), len(sent.refused()))


async def test_many_at_once_with_one_id_send_once(caller: Caller, new_number: NewNumber) -> None:
    """Twenty callers that use the same id at the same moment get one message."""
    to, message_id = new_number(), new_id()

    sent = await asyncio.gather(*(caller.send(to, message_id=message_id) for _ in range(20)))
    reports = await asyncio.gather(*(each.report() for each in sent))

    assert 1 == len({each.message_sid for each in reports})
    assert 1 == len(sent[0].accepted())
