import asyncio
from typing import Any

import pytest
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client

from devtools.stack.local import LocalStack
from signedfor.contract import Stage
from signedfor.search_attributes import (
    FAILURE_CLASS,
    MAY_HAVE_ARRIVED,
    MESSAGE_SENDER,
    MESSAGE_STATUS,
    SEARCH_ATTRIBUTES,
    TENANT,
    TWILIO_ERROR_CODE,
    TWILIO_SID,
)
from tests.fixtures.stack import TEXT, NewNumber
from tests.integration.support import Caller, Sent, until

pytestmark = pytest.mark.integration

_MASKED_SENDER = "+1500***0006"
_BUSY = {"respond": "error", "code": 20429, "http_status": 429}


async def test_a_message_can_be_found_at_each_stage(
    breakable_stack: LocalStack, brave_caller: Caller, new_number: NewNumber
) -> None:
    """Operators filter by status, sender, SID, code and tenant, whatever stage a message is at."""
    client, tenant = brave_caller.client, "acme-eu"
    breakable_stack.sandbox.settings(hold=True)
    waiting = await brave_caller.send(new_number(), tenant=tenant)
    retrying = await brave_caller.send(new_number(), then=_BUSY, tenant=tenant)
    scheduled = await brave_caller.send(
        new_number(), send_at="2030-01-02T03:04:05Z", tenant=tenant, sender="ACME"
    )

    found = await _find(client, waiting, status=Stage.AWAITING_RECEIPT)
    [row] = waiting.accepted()
    await _find(client, waiting, status=Stage.AWAITING_RECEIPT, sid=row["sid"])
    await _find(client, scheduled, status=Stage.SCHEDULED)
    await _find(client, retrying, status=Stage.RETRYING, code=20429, tenant=tenant)
    assert {
        MESSAGE_STATUS.name: Stage.AWAITING_RECEIPT,
        MESSAGE_SENDER.name: _MASKED_SENDER,
        TENANT.name: tenant,
        TWILIO_SID.name: row["sid"],
    } == found

    breakable_stack.sandbox.settings(hold=False)
    await asyncio.gather(waiting.report(), retrying.cancel(), scheduled.cancel())
    await _find(client, waiting, status="delivered", sid=row["sid"], sender=_MASKED_SENDER)
    await _find(client, retrying, status="canceled", sender=_MASKED_SENDER)
    await _find(client, scheduled, status="canceled")


async def test_an_open_dead_letter_can_be_found(caller: Caller, new_number: NewNumber) -> None:
    """One query finds all open dead letters with a code."""
    refused = {"respond": "error", "code": 21408, "http_status": 400}
    sent = await caller.send(new_number(), refused, tenant="acme-eu")
    await sent.report()
    dead_letter = sent.dead_letter_handle.id

    found = await _find(
        caller.client, sent, status="open", code=21408, tenant="acme-eu", kind="DeadLetter"
    )
    await sent.dead_letter_handle.execute_update("resolve", {"action": "discard"})
    await _find(caller.client, sent, status="discarded", kind="DeadLetter")
    await _find(caller.client, sent, status="failed", code=21408)

    assert (_MASKED_SENDER, "SenderMisconfigured", False) == (
        found[MESSAGE_SENDER.name],
        found[FAILURE_CLASS.name],
        found[MAY_HAVE_ARRIVED.name],
    )
    assert "SenderMisconfigured 21408" == await _summary(caller.client, dead_letter)


async def test_what_is_visible_contains_no_personal_data(
    caller: Caller, new_number: NewNumber
) -> None:
    """No attribute, memo, summary or detail at any stage holds a recipient or a text."""
    sent = [
        await caller.send(new_number()),
        await caller.send(new_number(), then=_BUSY),
        await caller.send(new_number(), send_at="2030-01-02T03:04:05Z"),
        await caller.send(new_number(), {"final": "undelivered", "error_code": 30003}),
        await caller.send(new_number(), {"final": "undelivered", "error_code": 30007}),
        await caller.send(new_number(), {"respond": "error", "code": 21610, "http_status": 400}),
    ]
    stages = ("delivered", "retrying", "scheduled", "delayed", "undelivered", "failed")
    for message, stage in zip(sent, stages, strict=True):
        await message.reaches(stage)
    ids = [each.handle.id for each in sent] + [each.dead_letter_handle.id for each in sent[4:]]

    shown = {each: await _what_is_shown(caller.client, each) for each in ids}

    canaries = [each.to[1:] for each in sent] + [TEXT]
    for workflow_id, text in shown.items():
        assert [] == [each for each in canaries if each in text], workflow_id
    for message, stage in zip(sent, stages, strict=True):
        assert f"**{stage}**" in shown[message.handle.id]
    assert "filtered" in shown[sent[4].dead_letter_handle.id]
    await asyncio.gather(*(each.cancel() for each in sent[1:4]))


async def _find(
    client: Client,
    sent: Sent,
    *,
    status: str,
    sid: str | None = None,
    code: int | None = None,
    sender: str | None = None,
    tenant: str | None = None,
    kind: str = "SendMessage",
) -> dict[str, Any]:
    """Search until exactly this workflow is found; return our search attributes of it."""
    wanted = (sent.handle if kind == "SendMessage" else sent.dead_letter_handle).id
    equal = {
        "WorkflowType": kind,
        MESSAGE_STATUS.name: status,
        TWILIO_SID.name: sid,
        MESSAGE_SENDER.name: sender,
        TENANT.name: tenant,
    }
    clauses = [f"{name}='{value}'" for name, value in equal.items() if value is not None]
    if code is not None:
        clauses.append(f"{TWILIO_ERROR_CODE.name}={code}")

    async def ask() -> dict[str, Any] | None:
        async for each in client.list_workflows(" AND ".join(clauses)):
            if each.id == wanted:
                values = {key: each.typed_search_attributes.get(key) for key in SEARCH_ATTRIBUTES}
                return {key.name: value for key, value in values.items() if value is not None}
        return None

    return await until(ask, f"{wanted} to be found by {' AND '.join(clauses)}")


async def _summary(client: Client, workflow_id: str) -> str | None:
    return await (await client.get_workflow_handle(workflow_id).describe()).static_summary()


async def _what_is_shown(client: Client, workflow_id: str) -> str:
    """Everything visible of a workflow apart from inputs and results, as one text."""
    handle = client.get_workflow_handle(workflow_id)
    described = await handle.describe()
    metadata = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    events = (await handle.fetch_history()).events
    return "\n".join(
        [
            # Attributes, memo, static summary, and what pending activities last failed with.
            repr(described.raw_description),
            metadata.current_details,
            *(repr(each.user_metadata) for each in events),
        ]
    )
