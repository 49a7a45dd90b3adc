"""Bad starts, updates and signals: each fails once with its fields, and changes nothing."""

import asyncio
import time
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.client import (
    Client,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from signedfor.contract import (
    CAMPAIGN,
    DEAD_LETTER,
    MESSAGES_QUEUE,
    SEND_MESSAGE,
    campaign_workflow_id,
    dead_letter_workflow_id,
    message_workflow_id,
)
from signedfor.payloads import INVALID_INPUT
from tests.bad_inputs import temporal_rows
from tests.bad_inputs.environment import Environment
from tests.bad_inputs.rows import CANARIES, NUMBER
from tests.bad_inputs.temporal_rows import SIGNALS, STARTS, UPDATES, Call, Start, dead_letter
from tests.encryption import stranger_to
from tests.hostile_payloads import plain
from tests.integration.support import events_of_type, new_id
from tests.signedfor.test_payloads import CANARIES as TEXTS

pytestmark = [
    pytest.mark.integration,
    pytest.mark.parametrize("environment", ["sqlite"], indirect=True),
]

_IDS = {
    SEND_MESSAGE: message_workflow_id,
    DEAD_LETTER: dead_letter_workflow_id,
    CAMPAIGN: campaign_workflow_id,
}
_SENDER = "+15005550006"
_QUIET_SECONDS = 2


@pytest.fixture(scope="module")
def workflows(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The id of a workflow of each kind that waits: for its time, or for a decision."""
    stack = environment.stack
    recipients = tmp_path_factory.mktemp("campaign") / "recipients.csv"
    recipients.write_text("to\n+15557654321\n")
    stack.signedfor("senders", "rate", _SENDER, "1")
    stack.signedfor("senders", "pause", _SENDER)
    stack.signedfor(
        *("campaign", "start", str(recipients), "--from", _SENDER, "--body", "x"),
        *("--id", "spring", "--yes"),
    )
    message = {"to": NUMBER, "from": _SENDER, "body": "x", "send_at": "2099-01-01T00:00:00Z"}
    ids = {
        temporal_rows.CAMPAIGN_OF_TEST: campaign_workflow_id("spring"),
        temporal_rows.MESSAGE: message_workflow_id("scheduled"),
        temporal_rows.LETTER: dead_letter_workflow_id("refused"),
    }

    async def start() -> None:
        for kind, workflow_id, document in (
            (SEND_MESSAGE, ids[temporal_rows.MESSAGE], message),
            (DEAD_LETTER, ids[temporal_rows.LETTER], dead_letter()),
        ):
            await environment.temporal.start_workflow(
                kind, document, id=workflow_id, task_queue=MESSAGES_QUEUE
            )

    environment.loop.run(start())
    quiet_since = time.monotonic()
    while time.monotonic() < quiet_since + _QUIET_SECONDS:  # the campaign's message waits
        if _changes(environment):
            quiet_since = time.monotonic()
    return ids


@pytest.fixture(scope="module")
def stranger(environment: Environment) -> Client:
    """A client that sends what it is given, and can read the answer."""
    stack = environment.stack
    return environment.loop.run(stranger_to(stack.temporal.address, stack.settings))


def _raw(document: Any) -> RawValue:
    return RawValue(plain(document.encode() if isinstance(document, str) else document))


def _document(row: Start) -> Payload:
    is_json = isinstance(row.document, str | bytes)
    encoded = row.document.encode() if isinstance(row.document, str) else row.document
    return plain(encoded if is_json else row.document)


def _named(failure: ApplicationError, fields: tuple[str, ...]) -> None:
    assert (INVALID_INPUT, True) == (failure.type, failure.non_retryable)
    assert sorted(fields) == sorted(each["field"] for each in failure.details[0])
    said = f"{failure} {failure.details}"
    assert [] == [each for each in (*CANARIES, *TEXTS) if each in said]


@pytest.mark.parametrize("row", STARTS, ids=lambda row: f"{row.workflow}: {row.name}")
def test_a_bad_start_fails_once(environment: Environment, stranger: Client, row: Start) -> None:
    """It names the fields and no value, and there is nothing new but the failed workflow."""
    workflow_id = _IDS[row.workflow](f"bad-{new_id()}")

    async def failed() -> tuple[ApplicationError, int]:
        await stranger.start_workflow(
            row.workflow,
            RawValue(_document(row)),
            id=workflow_id,
            task_queue=MESSAGES_QUEUE,
        )
        handle = environment.temporal.get_workflow_handle(workflow_id)
        return await _failure(handle), await _failed_tasks(handle)

    failure, failed_tasks = environment.loop.run(failed())

    _named(failure, row.fields)
    assert 0 == failed_tasks
    assert [] == _changes(environment)


@pytest.mark.parametrize("row", UPDATES, ids=lambda row: f"{row.to} {row.handler}: {row.name}")
def test_a_bad_update_is_refused(
    environment: Environment, stranger: Client, workflows: dict[str, str], row: Call
) -> None:
    """It names the fields and no value, and the workflow goes on as before."""
    arguments = [_raw(each) for each in row.arguments]

    async def refused() -> ApplicationError:
        handle = stranger.get_workflow_handle(workflows[row.to])
        with pytest.raises(WorkflowUpdateFailedError) as raised:
            await handle.execute_update(row.handler, args=arguments)
        assert isinstance(raised.value.cause, ApplicationError)
        return raised.value.cause

    failure = environment.loop.run(refused())

    _named(failure, row.fields)
    assert [] == _changes(environment)
    assert 0 == environment.loop.run(_failed_tasks(_of(environment, workflows[row.to])))


@pytest.mark.parametrize("row", SIGNALS, ids=lambda row: f"{row.to}: {row.name}")
def test_a_bad_signal_is_dropped(
    environment: Environment, stranger: Client, workflows: dict[str, str], row: Call
) -> None:
    """The workflow goes on as before."""
    arguments = [_raw(each) for each in row.arguments]
    handle = stranger.get_workflow_handle(workflows[row.to])

    async def state_after() -> tuple[Any, Any]:
        query = "progress" if row.to == temporal_rows.MESSAGE else "details"
        before = await _of(environment, handle.id).query(query)
        await handle.signal(row.handler, args=arguments)
        return before, await _of(environment, handle.id).query(query)

    before, after = environment.loop.run(state_after())

    assert before == after
    assert [] == _changes(environment)
    assert 0 == environment.loop.run(_failed_tasks(_of(environment, handle.id)))


def _changes(environment: Environment) -> list[str]:
    """Besides workflows that have failed, and the sender's row, which a waiting message updates."""
    return [
        each
        for each in environment.changes()
        if ":bad-" not in each and not each.startswith("senders: ")
    ]


def _of(environment: Environment, workflow_id: str) -> WorkflowHandle[Any, Any]:
    return environment.temporal.get_workflow_handle(workflow_id)


async def _failure(handle: WorkflowHandle[Any, Any]) -> ApplicationError:
    async with asyncio.timeout(20):
        with pytest.raises(WorkflowFailureError) as raised:
            await handle.result()
    assert isinstance(raised.value.cause, ApplicationError)
    return raised.value.cause


async def _failed_tasks(handle: WorkflowHandle[Any, Any]) -> int:
    events = list((await handle.fetch_history()).events)
    return len(events_of_type(events, EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED))
