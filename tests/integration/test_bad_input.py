import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowFailureError
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from devtools.stack.local import LocalStack
from signedfor.contract import MESSAGES_QUEUE, SEND_MESSAGE, message_workflow_id
from signedfor.payloads import INVALID_INPUT
from tests.fixtures.stack import TEXT, NewNumber
from tests.integration.support import events_of_type, new_id, start_by_command

pytestmark = pytest.mark.integration

_SECONDS = 10
_SENT_OR_ASKED = (
    EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED,
    EventType.EVENT_TYPE_MARKER_RECORDED,
)


@dataclass(frozen=True)
class Bad:
    """Inputs that must be refused: JSON documents with TO for a number, and the bad fields."""

    inputs: tuple[str, ...]
    fields: tuple[str, ...]
    canaries: tuple[str, ...] = field(default=())
    """Values that must not appear in the failure, besides the recipient and the text."""


def _one(*fields: str, canaries: tuple[str, ...] = (), **values: Any) -> Bad:
    document = {"to": "TO", "body": TEXT, **values}
    return Bad((json.dumps(document),), fields, canaries)


_CASES = {
    "no to": Bad((json.dumps({"body": TEXT}),), ("to",)),
    "to as a number": Bad((f'{{"to": DIGITS, "body": "{TEXT}"}}',), ("to",)),
    "two recipients": _one("to", to="TO, TO"),
    "too long a text": _one("body", body="quiet" * 320 + "!", canaries=("quiet",)),
    "unknown field": _one("colour", colour="mauve", canaries=("mauve",)),
    "number as an unknown field": _one("(a name)", TO="x"),
    "lone surrogate": Bad((f'{{"to": "TO", "body": "{TEXT} \\ud800"}}',), ("body",)),
    "nul": _one("body", body=f"{TEXT}\0"),
    "11 media": _one(
        "media_urls",
        media_urls=[f"https://quiet.example/{number}" for number in range(11)],
        canaries=("quiet",),
    ),
    "expires before send_at": _one(
        "expires_at",
        send_at="2030-01-02T03:04:05Z",
        expires_at="2030-01-02T03:04:04Z",
        canaries=("03:04",),
    ),
    "time without a zone": _one("send_at", send_at="2030-01-02T03:04:05", canaries=("03:04",)),
    "an array": Bad((json.dumps([{"to": "TO", "body": TEXT}]),), ("input",)),
    "a string": Bad((json.dumps("TO"),), ("input",)),
    "null": Bad(("null",), ("input",)),
    "no input": Bad((), ("input",)),
    "two inputs": Bad((json.dumps({"to": "TO", "body": TEXT}),) * 2, ("input",)),
    "nothing to say": Bad((json.dumps({"to": "TO"}),), ("body",)),
    "all at once": _one(
        *("to", "body", "priority", "send_at", "colour", "receipt_timeout_seconds"),
        to="quiet",
        body=" ",
        priority="quietly",
        send_at="quieter",
        colour="quiet",
        receipt_timeout_seconds="quietest",
        canaries=("quiet",),
    ),
}


@pytest.mark.parametrize("name", _CASES)
async def test_bad_input_fails_at_once(stack: LocalStack, new_number: NewNumber, name: str) -> None:
    """Through Temporal's CLI and through an SDK, each bad field is named and no value repeated."""
    bad, to = _CASES[name], new_number()
    inputs = [each.replace("DIGITS", to[1:]).replace("TO", to) for each in bad.inputs]
    plain, client = await Client.connect(stack.temporal.address), await stack.client()
    ids = [message_workflow_id(new_id()) for _ in range(2)]

    started = await start_by_command(stack, ids[0], *inputs)
    await plain.start_workflow(
        SEND_MESSAGE,
        args=[_raw(each) for each in inputs],
        id=ids[1],
        task_queue=MESSAGES_QUEUE,
    )
    failures = await asyncio.gather(*(failure_of(client, workflow_id) for workflow_id in ids))

    assert 0 == started.exit_code, started
    for failure, events in failures:
        assert INVALID_INPUT == failure.type
        assert failure.non_retryable
        named = [each["field"] for each in failure.details[0]]
        assert sorted(bad.fields) == sorted(named)
        assert all(f"{each}: " in failure.message for each in bad.fields)
        _assert_no_values(failure, (to[1:], TEXT, *bad.canaries))
        _assert_failed_without_activities(events)
    assert _posts(stack, to) == 0


@pytest.mark.parametrize("prefix", ["", "note:", "dead-letter", "message:"])
async def test_an_id_without_our_prefix_fails_at_once(
    stack: LocalStack, new_number: NewNumber, prefix: str
) -> None:
    """A workflow id without the prefix is refused, and so is `message:` with nothing after it."""
    to = new_number()
    workflow_id = prefix if prefix == "message:" else prefix + new_id()
    client = await stack.client()

    await start_by_command(stack, workflow_id, json.dumps({"to": to, "body": TEXT}))
    failure, events = await failure_of(client, workflow_id)

    assert (INVALID_INPUT, "workflow id") == (failure.type, failure.details[0][0]["field"])
    _assert_failed_without_activities(events)
    assert _posts(stack, to) == 0
    run_id = (await client.get_workflow_handle(workflow_id).describe()).run_id
    (line,) = [each for each in _refusals(stack) if f"run_id={run_id}" in each]
    assert "message_id=(refused)" in line


@pytest.mark.parametrize(
    "written",
    ["order-1-555-844-1234", "1-555-844-1234", "a.1-1-555-844-1234-2", "order-5558441234"],
)
async def test_an_id_with_the_recipients_number_fails_at_once(
    stack: LocalStack, written: str
) -> None:
    """An id is shown and logged in clear, so one with the recipient's number is refused."""
    to = "+15558441234"  # the caller's mistake puts it into Temporal's own records
    client = await stack.client()
    workflow_id = message_workflow_id(written)

    await start_by_command(stack, workflow_id, json.dumps({"to": to, "body": TEXT}))
    failure, events = await failure_of(client, workflow_id)

    assert (INVALID_INPUT, "workflow id") == (failure.type, failure.details[0][0]["field"])
    _assert_failed_without_activities(events)
    assert _posts(stack, to) == 0


def _raw(document: str) -> RawValue:
    return RawValue(Payload(metadata={"encoding": b"json/plain"}, data=document.encode()))


async def failure_of(
    client: Client, workflow_id: str
) -> tuple[ApplicationError, list[HistoryEvent]]:
    """The workflow's failure, which comes within seconds, and its history."""
    handle = client.get_workflow_handle(workflow_id)
    async with asyncio.timeout(_SECONDS):
        with pytest.raises(WorkflowFailureError) as raised:
            await handle.result()
    assert isinstance(raised.value.cause, ApplicationError)
    return raised.value.cause, list((await handle.fetch_history()).events)


def _assert_no_values(failure: ApplicationError, canaries: tuple[str, ...]) -> None:
    """No value is in the failure: not in its text, its details, its cause or its stack trace."""
    assert failure.failure is not None
    said = failure.failure.SerializeToString()
    assert b"Bad input" in said  # it is decrypted
    assert [] == [each for each in canaries if each.encode() in said]


def _assert_failed_without_activities(events: list[HistoryEvent]) -> None:
    assert [] == events_of_type(events, EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED)
    assert [] == [each for kind in _SENT_OR_ASKED for each in events_of_type(events, kind)]


def _refusals(stack: LocalStack) -> list[str]:
    """The log's lines of messages that were refused."""
    return [line for line in stack.worker.output().splitlines() if "Refused as bad input" in line]


def _posts(stack: LocalStack, to: str) -> int:
    """How many POSTs to Twilio contained this number."""
    ledger = stack.sandbox.ledger()
    tos = [row["to"] for row in ledger["accepted"]] + [row["to"] for row in ledger["refused"]]
    return sum(to[1:] in each for each in tos)
