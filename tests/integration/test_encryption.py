"""What Temporal stores of messages, searched byte by byte for what must not be in clear."""

import asyncio
import json
import os
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psutil
import pytest
from google.protobuf import json_format
from temporalio.api.common.v1 import Payload, Payloads, WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
    ListWorkflowExecutionsRequest,
)
from temporalio.client import Client

from devtools.sandbox.client import Step
from devtools.stack.local import LocalStack
from signedfor.client import Client as SignedforClient
from signedfor.contract import (
    Outcome,
    dead_letter_workflow_id,
    message_workflow_id,
)
from signedfor.contract.failures import FailureClass
from signedfor.encryption import Encryption, encrypting
from signedfor.payloads import INVALID_INPUT
from tests.encryption import KEYS, encoded_payloads
from tests.fixtures.stack import TEXT, NewNumber, silent_stack
from tests.integration.support import (
    Caller,
    Sent,
    events_of_type,
    new_id,
    signedfor,
    start_by_command,
    until,
    until_true,
)
from tests.worker_process import ROOT

pytestmark = pytest.mark.integration

_CANARY = "quietly"
"""In every field of a message that has text."""
_REFUSED_AT_TWILIO: Step = {"respond": "error", "code": 21408, "http_status": 400}


async def _stored(client: Client, *workflow_ids: str) -> dict[str, bytes]:
    """All that Temporal's API has of these workflows: histories, descriptions, search results."""
    service, namespace = client.workflow_service, client.namespace
    found: dict[str, bytes] = {}
    for workflow_id in workflow_ids:
        execution = WorkflowExecution(workflow_id=workflow_id)
        history = await service.get_workflow_execution_history(
            GetWorkflowExecutionHistoryRequest(namespace=namespace, execution=execution)
        )
        description = await service.describe_workflow_execution(
            DescribeWorkflowExecutionRequest(namespace=namespace, execution=execution)
        )
        listed = await service.list_workflow_executions(
            ListWorkflowExecutionsRequest(
                namespace=namespace, query=f"WorkflowId = '{workflow_id}'"
            )
        )
        assert not history.next_page_token
        assert list(encoded_payloads(history))
        parts = (history, description, listed)
        found[workflow_id] = b"".join(part.SerializeToString() for part in parts)
    return found


def _personal(sent: Sent) -> tuple[bytes, ...]:
    return sent.to[1:].encode(), TEXT.encode(), _CANARY.encode()


async def _send(caller: Caller, to: str, *steps: Step) -> Sent:
    return await caller.send(
        to,
        *steps,
        tags={_CANARY: _CANARY},
        category=_CANARY,
        media_urls=[f"https://{_CANARY}.test/a"],
    )


async def test_a_delivered_message_is_not_stored_in_clear(
    caller: Caller, new_number: NewNumber
) -> None:
    """Number, text, tags, media, summaries, receipts and the report are all encrypted."""
    sent = await _send(caller, new_number())
    report = await sent.report()

    assert Outcome.DELIVERED is report.outcome
    description = await sent.handle.describe()
    assert _CANARY in str(await description.static_summary())  # it is there, encrypted
    [raw] = (await _stored(caller.client, sent.handle.id)).values()
    assert b"binary/encrypted" in raw
    assert [] == [each for each in (*_personal(sent), b"body", b"Twilio accepted") if each in raw]


async def test_a_refused_message_and_its_dead_letter_are_not_stored_in_clear(
    caller: Caller, new_number: NewNumber
) -> None:
    """Nor are the failure's text, its stack trace, and the operator's words."""
    sent = await _send(caller, new_number(), _REFUSED_AT_TWILIO)
    report = await sent.report()
    dead_letter = await sent.dead_letter()
    ended = await signedfor(
        caller.stack,
        *("dead-letters", "discard", sent.message_id, "--by", f"Ada {_CANARY}"),
    )

    assert 0 == ended.exit_code, ended.stderr
    assert Outcome.FAILED is report.outcome
    assert TEXT == dead_letter.request.message.body
    ids = (sent.handle.id, dead_letter_workflow_id(sent.message_id))
    for raw in (await _stored(caller.client, *ids)).values():
        assert [] == [each for each in (*_personal(sent), b'File "', b"Ada") if each in raw]
        assert b"json/plain" in raw  # search attributes only
    history = [event.SerializeToString() for event in await sent.events()]
    assert any(FailureClass.SENDER_MISCONFIGURED.encode() in event for event in history)


async def test_what_follows_a_message_in_clear_is_encrypted(
    caller: Caller, new_number: NewNumber
) -> None:
    """A caller without the key is served; only its own event has what it wrote."""
    to, workflow_id = new_number(), message_workflow_id(new_id())
    await start_by_command(caller.stack, workflow_id, json.dumps({"to": to, "body": TEXT}))
    message_id = workflow_id.removeprefix("message:")
    sent = Sent(message_id=message_id, to=to, stack=caller.stack, client=caller.client)

    assert Outcome.DELIVERED is (await sent.report()).outcome
    first, *later = await sent.events()
    assert TEXT.encode() in first.SerializeToString()
    for event in later:
        payloads = list(encoded_payloads(event))
        assert {b"binary/encrypted"} >= {each.metadata["encoding"] for each in payloads}
        assert TEXT.encode() not in event.SerializeToString()


async def test_plain_input_can_be_refused(tmp_path: Path, new_number: NewNumber) -> None:
    """With PAYLOAD_ACCEPT_PLAIN=off, once and with a sentence; encrypted messages are sent."""
    with silent_stack(tmp_path, PAYLOAD_ACCEPT_PLAIN="off") as stack:
        caller = Caller(stack=stack, client=await stack.client())
        workflow_id = message_workflow_id(new_id())
        document = json.dumps({"to": new_number(), "body": TEXT})
        await start_by_command(stack, workflow_id, document)
        sent = await caller.send(new_number())

        failure = await _failure(caller.client, workflow_id)
        report = await sent.report()

    assert "is not encrypted, and PAYLOAD_ACCEPT_PLAIN is off here" in failure
    assert Outcome.DELIVERED is report.outcome


async def _failure(client: Client, workflow_id: str) -> str:
    """The text of the failure with which the workflow ended, in its first workflow task."""
    handle = client.get_workflow_handle(workflow_id)
    async with asyncio.timeout(30):
        await asyncio.gather(handle.result(), return_exceptions=True)
    events = list((await handle.fetch_history()).events)
    assert [] == events_of_type(events, EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED)
    [failed] = events_of_type(events, EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED)
    failure = failed.workflow_execution_failed_event_attributes.failure
    assert INVALID_INPUT == failure.application_failure_info.type
    assert "Encoded failure" == failure.message
    return str(await client.data_converter.decode_failure(failure))


async def test_a_message_with_an_unknown_key_fails_once(
    stack: LocalStack, new_number: NewNumber
) -> None:
    """The sentence names the key; nothing is sent, and the worker's log says it too."""
    theirs = await Client.connect(
        stack.temporal.address, data_converter=encrypting(Encryption.parse(KEYS), "default")
    )
    to, message_id = new_number(), new_id()
    await SignedforClient(theirs).send({"to": to, "body": TEXT}, message_id=message_id)

    said = await _failure(await stack.client(), message_workflow_id(message_id))

    assert "encrypted with the key test, which is not among the PAYLOAD_KEYS here" in said
    assert [] == stack.sandbox.ledger(to=to)["accepted"]
    assert "encrypted with the key test, which is not" in stack.worker.log.read_text()


async def test_the_command_line_without_the_key(caller: Caller, new_number: NewNumber) -> None:
    """It says which key is missing, and prints no traceback."""
    sent = await caller.send(new_number())
    await sent.report()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "starter", "show", sent.message_id),
        env={
            "PATH": os.environ["PATH"],
            "TEMPORAL_ADDRESS": caller.stack.temporal.address,
            "DATABASE_URL": caller.stack.settings["DATABASE_URL"],
            "PAYLOAD_KEYS": KEYS,
        },
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    said, _ = await process.communicate()

    assert 1 == process.returncode
    assert b"encrypted with the key local, which is not among the PAYLOAD_KEYS" in said
    assert b"Traceback" not in said


async def test_a_worker_without_the_key_does_not_start(
    brave_caller: Caller, new_number: NewNumber
) -> None:
    """While a message is open that it could not continue; it says which key is missing."""
    stack = brave_caller.stack
    later = datetime.now(UTC) + timedelta(hours=1)
    sent = await brave_caller.send(new_number(), send_at=later)
    await sent.reaches("scheduled")

    async def ends(**variables: str) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "worker"),
            env={"PATH": os.environ["PATH"], **stack.settings, **variables},
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        _, said = await asyncio.wait_for(process.communicate(), 60)
        return process.returncode or 0, said.decode()

    async def is_listed() -> bool | None:
        query = f"WorkflowId = '{sent.handle.id}'"
        return bool([each async for each in brave_caller.client.list_workflows(query)]) or None

    await until(is_listed, "the message in visibility")
    without = await ends(PAYLOAD_KEYS_FILE="")
    wrong = await ends(PAYLOAD_KEYS_FILE="", PAYLOAD_KEYS=KEYS)
    same_id = await ends(PAYLOAD_KEYS_FILE="", PAYLOAD_KEYS=KEYS.replace("test", "local"))
    off = await ends(PAYLOAD_KEYS_FILE="", PAYLOAD_ENCRYPTION="off")
    await sent.cancel()

    for (code, said), problem in (
        (without, "there is no key. Set PAYLOAD_KEYS"),
        (wrong, "with the key local, which is not among the PAYLOAD_KEYS here. Add the missing"),
        (same_id, "another key of that id"),
        (off, "PAYLOAD_ENCRYPTION is off here"),
    ):
        last = said.splitlines()[-1]
        assert 1 == code, said
        assert last.startswith("signedfor worker: ")
        assert problem in last
        assert "Traceback" not in said


async def test_a_new_key_waits_for_the_other_workers(brave_caller: Caller, tmp_path: Path) -> None:
    """A worker whose current key another lacks takes no messages, and says so until it may."""
    stack, log = brave_caller.stack, tmp_path / "log"
    keys = (stack.folder / "payload-keys").read_text().strip()
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "worker"),
            env={
                "PATH": os.environ["PATH"],
                **stack.settings,
                "PAYLOAD_KEYS_FILE": "",
                "PAYLOAD_KEYS": f"{KEYS},{keys}",
            },
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        await until_true(
            lambda: "takes no messages" in log.read_text() or process.returncode is not None,
            "the worker to wait",
        )
        said = log.read_text()
    finally:
        process.kill()
        await process.wait()

    assert f"The worker {stack.worker.pid}@" in said
    assert "lacks the key test, with which payloads are encrypted here" in said
    assert "worker ready" not in said


async def test_doctor_says_whether_payloads_are_encrypted(stack: LocalStack) -> None:
    """And whether it has the same key as the workers."""

    async def doctor(**variables: str) -> dict[str, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "starter", "--env-file", os.devnull, "doctor", "--json"),
            env={"PATH": os.environ["PATH"], **stack.settings, **variables},
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        said, _ = await process.communicate()
        checks = {each["name"]: each for each in json.loads(said)["checks"]}
        found: dict[str, str] = checks["encryption"]
        return found

    same, off, other = await asyncio.gather(
        doctor(),
        doctor(PAYLOAD_ENCRYPTION="off"),
        doctor(PAYLOAD_KEYS_FILE="", PAYLOAD_KEYS=KEYS),
    )
    without = await doctor(PAYLOAD_KEYS_FILE="")

    assert "ok" == same["level"]
    assert "Payloads are encrypted with the key local, by 1 worker too." == same["what"]
    assert "fail" == off["level"]
    assert "encrypts payloads, and PAYLOAD_ENCRYPTION is off here" in off["what"]
    assert "fail" == other["level"]
    assert "lacks the key test" in other["what"]
    assert "fail" == without["level"]
    assert "there is no key" in without["what"]


async def test_the_temporal_ui_of_a_stack_shows_clear_text(
    tmp_path: Path, new_number: NewNumber
) -> None:
    """Through the codec server, whose token is in no process's arguments, as files are private."""
    with LocalStack(tmp_path, with_ops=True) as stack:
        caller = Caller(stack=stack, client=await stack.client())
        sent = await caller.send(new_number())
        await sent.report()
        started = (await sent.events())[0].workflow_execution_started_event_attributes
        async with httpx.AsyncClient(trust_env=False) as http:
            settings = (await http.get(f"{stack.temporal.ui_url}/api/v1/settings")).json()
            endpoint = settings["Codec"]["Endpoint"]
            response = await http.post(
                f"{endpoint}/decode",
                json=json_format.MessageToDict(started.input),
                headers={"Origin": str(stack.temporal.ui_url), "X-Namespace": "default"},
            )
        arguments = [" ".join(psutil.Process(each.pid).cmdline()) for each in stack.processes]
        token = endpoint.rsplit("/", 1)[1]
        logs = "".join(each.log.read_text() for each in stack.processes)
        stored = b"".join(each.read_bytes() for each in stack.folder.glob("temporal.db*"))
        files = [stack.folder / name for name in ("payload-keys", "codec-token", "temporal.yaml")]

    [payload] = json_format.ParseDict(response.json(), Payloads()).payloads
    assert isinstance(payload, Payload)
    assert TEXT.encode() in payload.data
    assert TEXT.encode() not in started.SerializeToString()
    assert b"binary/encrypted" in stored
    assert [] == [each for each in (TEXT.encode(), sent.to[1:].encode()) if each in stored]
    assert len(token) >= 32
    assert not any(token in each for each in arguments)
    assert token not in logs
    assert {0o600} == {stat.S_IMODE(each.stat().st_mode) for each in files}
