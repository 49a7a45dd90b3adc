"""What strangers and broken callers send is in no log, metric or trace."""

import uuid
from hashlib import sha256
from typing import Any

import httpx
import pytest
from temporalio.client import WorkflowFailureError

from devtools.sandbox.accounts import DEFAULT_ACCOUNT_SID
from signedfor.client import BadInput
from signedfor.client import Client as SignedforClient
from signedfor.contract import (
    EVENTS_PATH,
    INBOUND_PATH,
    MESSAGES_QUEUE,
    SEND_MESSAGE,
    STATUS_PATH,
    message_workflow_id,
)
from tests.leaks.canaries import Kind
from tests.leaks.places import PRINTED, Piece
from tests.leaks.scenario import Scenario
from tests.leaks.secrets import SHARED_KEY
from tests.webhook.support import sign, status_fields


async def hostile(scenario: Scenario) -> None:
    """What strangers and broken callers send is in no log, metric or trace."""
    canaries = scenario.canaries
    number, text = canaries.number(), canaries.text(Kind.TEXTS)
    new_id = message_workflow_id(f"scan-{uuid.uuid4()}")
    await _is_refused(scenario, new_id, {"to": number + "12345678", "body": text})
    await _is_refused(scenario, new_id, {"to": number, "body": text, f"field-{text}": text})
    own = canaries.number(Kind.BAD_ID)
    await _is_refused(scenario, message_workflow_id(own), {"to": own, "body": text})
    client = SignedforClient(scenario.client)
    try:
        await client.send({"to": f"{number}x", "body": text, "category": text * 9})
    except BadInput as error:
        scenario.commands.printed.append(Piece(PRINTED, "client", str(error).encode()))
    url = scenario.stack.webhook_url
    signed = f"{url}{STATUS_PATH}?message_id=unknown"
    fields = {"From": number, "To": scenario.sender, "Body": text, "MessageSid": text}
    async with httpx.AsyncClient(trust_env=False) as http:
        for path in (
            f"{STATUS_PATH}?message_id={number}",
            INBOUND_PATH,
            f"/{text}",
            EVENTS_PATH,
        ):
            for body in (fields, {}):
                headers = {"X-Twilio-Signature": canaries.secret(Kind.WRONG)}
                answer = await http.post(url + path, data=body, headers=headers)
                assert 400 <= answer.status_code < 500, (answer.status_code, path)
        for target in (signed, url + INBOUND_PATH):
            headers = {"X-Twilio-Signature": sign(target, fields, token=scenario.secrets.token)}
            answer = await http.post(target, data=fields, headers=headers)
            assert answer.status_code < 500
        await _signed_by_shared_key(scenario, http)
        await http.request(text[:6].upper(), url + f"/healthz?{number}", content=text * 99)


async def _signed_by_shared_key(scenario: Scenario, http: httpx.AsyncClient) -> None:
    """By the one that is configured, and by another."""
    target = f"{scenario.stack.webhook_url}{STATUS_PATH}?message_id=unknown"
    fields = status_fields(AccountSid=DEFAULT_ACCOUNT_SID, To=scenario.canaries.number())
    for key, status in (
        (scenario.secrets.shared_key, 204),
        (scenario.canaries.secret(Kind.WRONG), 403),
    ):
        headers = {
            "X-Twilio-Signature": sign(target, fields, token=key, digest=sha256),
            "X-Twilio-Webhooks-Signature-Settings": f"key={SHARED_KEY},algorithm=HMAC_SHA256",
        }
        answer = await http.post(target, data=fields, headers=headers)
        assert status == answer.status_code


async def _is_refused(scenario: Scenario, workflow_id: str, document: dict[str, Any]) -> None:
    handle = await scenario.client.start_workflow(
        SEND_MESSAGE, document, id=workflow_id, task_queue=MESSAGES_QUEUE
    )
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    said = f"{failed.value} {failed.value.cause}".encode()
    scenario.commands.printed.append(Piece(PRINTED, "the failure of a workflow", said))
