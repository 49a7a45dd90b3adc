"""The typed client, with a real server and fake activities."""

import uuid
from collections.abc import AsyncIterator

import pytest
import temporalio.client
from temporalio.client import WorkflowFailureError
from temporalio.service import RPCError, RPCStatusCode

from devtools.stack.temporal_server import TemporalServer
from signedfor.client import BadInput, Client, FieldProblem, Message, NotFound
from signedfor.contract import (
    MESSAGES_QUEUE,
    SEND_MESSAGE,
    MessageRequest,
    Outcome,
    message_workflow_id,
)
from signedfor.search_attributes import MESSAGE_SENDER, MESSAGE_STATUS, TENANT
from tests.workflows.fakes import REQUEST, Environment, FakeActivities, callback, serving

TO = REQUEST["to"]


@pytest.fixture
async def real_env(temporal: temporalio.client.Client) -> AsyncIterator[Environment]:
    """Our workflows with fake activities on the real server."""
    fakes = FakeActivities()
    async with serving(temporal, fakes):
        yield Environment(temporal, fakes)


@pytest.fixture
async def client(real_env: Environment, temporal_server: TemporalServer) -> Client:
    """A client with a connection of its own."""
    return await Client.connect(temporal_server.address, namespace=real_env.client.namespace)


def _sent(env: Environment) -> list[str]:
    """The ids of the messages for which a POST was made."""
    return [each.message_id for each in env.fakes.posts]


async def _until_posted(env: Environment, message: Message) -> None:
    await env.until(lambda: message.message_id in _sent(env))


def _new_id() -> str:
    return f"client-{uuid.uuid4().hex}"


async def test_sends_a_message_and_reports_its_outcome(
    real_env: Environment, client: Client
) -> None:
    """A message can be a dict with the contract's names; its report is typed."""
    message = await client.send({**REQUEST, "tenant": "acme"}, message_id=_new_id())
    await _until_posted(real_env, message)
    await callback(message.handle, "delivered")

    report = await message.report()

    assert message.is_new
    assert (message.message_id, Outcome.DELIVERED) == (report.message_id, report.outcome)


async def test_a_started_message_can_be_found_by_its_attributes(
    client: Client,
) -> None:
    """Status, sender and tenant are set at the start, before a worker picks it up."""
    request = MessageRequest(to=TO, sender=REQUEST["from"], body="Hi", tenant="acme")
    message = await client.send(request)

    attributes = (await message.handle.describe()).typed_search_attributes

    assert ("acme", "+1500***0006") == (attributes[TENANT], attributes[MESSAGE_SENDER])
    assert attributes[MESSAGE_STATUS] in {"sending", "awaiting_receipt"}


async def test_sending_with_the_same_id_again_sends_nothing(
    real_env: Environment, client: Client
) -> None:
    """It returns the earlier message, running or ended, which is not marked as new."""
    message_id = _new_id()
    first = await client.send(REQUEST, message_id=message_id)
    while_running = await client.send({**REQUEST, "body": "Other"}, message_id=message_id)
    await _until_posted(real_env, first)
    await callback(first.handle, "delivered")
    await first.report()
    afterwards = await client.send(REQUEST, message_id=message_id)

    assert [True, False, False] == [each.is_new for each in (first, while_running, afterwards)]
    assert [(), ("body",), ()] == [each.differs_in for each in (first, while_running, afterwards)]
    assert await first.report() == await afterwards.report()
    assert 1 == _sent(real_env).count(message_id)


async def test_an_accepted_message_need_not_be_readable(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller without permission to read histories still learns that it was accepted."""
    message_id = _new_id()
    await client.send(REQUEST, message_id=message_id)

    async def refused(_: Message) -> MessageRequest | None:
        raise RPCError("no permission", RPCStatusCode.PERMISSION_DENIED, b"")

    monkeypatch.setattr(client, "request_of", refused)
    again = await client.send({**REQUEST, "body": "Other"}, message_id=message_id)

    assert (False, ()) == (again.is_new, again.differs_in)


async def test_a_refused_message_can_be_corrected_under_its_id(
    real_env: Environment, client: Client
) -> None:
    """It was never sent: the corrected message is new and goes out."""
    real_env.fakes.default_sender = None
    message_id = _new_id()
    without_sender = {name: value for name, value in REQUEST.items() if name != "from"}
    refused = await client.send(without_sender, message_id=message_id)
    with pytest.raises(BadInput):
        await refused.report()

    corrected = await client.send(REQUEST, message_id=message_id)
    await _until_posted(real_env, corrected)
    await callback(corrected.handle, "delivered")

    assert corrected.is_new
    assert Outcome.DELIVERED is (await corrected.report()).outcome


async def test_progress_shows_what_a_message_waits_for(
    real_env: Environment, client: Client
) -> None:
    """A scheduled message waits for its `send_at`."""
    message = await client.send({**REQUEST, "send_at": "2099-01-01T00:00:00Z"})

    progress = await message.progress()

    assert ("scheduled", "its send_at") == (progress.status, progress.waiting_for)
    assert message.message_id not in _sent(real_env)


async def test_a_message_that_was_not_sent_is_canceled(
    real_env: Environment, client: Client
) -> None:
    """Canceling it again after its end gives the same answer."""
    message = await client.send({**REQUEST, "send_at": "2099-01-01T00:00:00Z"})

    answers = [await message.cancel(by="ops", reason="wrong text") for _ in range(2)]

    assert [(True, "canceled")] * 2 == [(each.canceled, each.status) for each in answers]
    assert Outcome.CANCELED is (await message.report()).outcome
    assert message.message_id not in _sent(real_env)


async def test_a_submitted_message_cannot_be_canceled(
    real_env: Environment, client: Client
) -> None:
    """The answer says so and has its status, before and after the receipt."""
    message = await client.send(REQUEST)
    await _until_posted(real_env, message)
    waiting = await message.cancel()
    await callback(message.handle, "delivered")
    await message.report()
    ended = await message.cancel()

    assert [(False, "awaiting_receipt"), (False, "delivered")] == [
        (each.canceled, each.status) for each in (waiting, ended)
    ]


async def test_bad_input_is_refused_before_a_workflow_is_started(client: Client) -> None:
    """One exception names every bad field and repeats no value."""
    message_id = f"order {TO}"
    with pytest.raises(BadInput) as caught:
        await client.send({"to": "5558675309", "priority": "soon"}, message_id=message_id)

    assert {"to", "priority", "body", "message_id"} == {
        each.field for each in caught.value.problems
    }
    assert "8675309" not in str(caught.value)


@pytest.mark.parametrize("number", [TO.removeprefix("+"), TO.removeprefix("+1")])
@pytest.mark.parametrize("field", ["message_id", "tenant"])
async def test_ids_and_tenants_must_not_contain_the_recipients_number(
    client: Client, field: str, number: str
) -> None:
    """They are stored in clear text. Without the country's code it is the number too."""
    request = {**REQUEST, "tenant": f"t-{number}"} if field == "tenant" else REQUEST
    with pytest.raises(BadInput) as caught:
        await client.send(request, message_id=number if field == "message_id" else None)

    assert (FieldProblem(field, "must not contain the recipient's number"),) == (
        caught.value.problems
    )


async def test_bad_input_that_only_a_worker_can_detect(client: Client) -> None:
    """A message without a sender is bad input if the workers have no default sender."""
    message = await client.send({"to": TO, "body": "Hi"})

    with pytest.raises(BadInput) as caught:
        await message.report()

    assert ["from"] == [each.field for each in caught.value.problems]


async def test_a_refused_message_has_no_progress(
    temporal: temporalio.client.Client,
) -> None:
    """No worker can answer for it, least of all one that has not refused it: it is bad input."""
    message = Client(temporal).message(_new_id())
    async with serving(temporal, FakeActivities()):
        await temporal.start_workflow(
            SEND_MESSAGE,
            {"to": "nobody"},
            id=message_workflow_id(message.message_id),
            task_queue=MESSAGES_QUEUE,
        )
        with pytest.raises(BadInput):
            await message.report()

    async with serving(temporal, FakeActivities()):
        with pytest.raises(BadInput) as caught:
            await message.progress()

    assert "to" in [each.field for each in caught.value.problems]


async def test_a_cancel_with_a_too_long_reason_is_bad_input(client: Client) -> None:
    """Everything that violates the contract is bad input."""
    with pytest.raises(BadInput) as caught:
        await client.message("m1").cancel(reason="x" * 1001)

    assert ["reason"] == [each.field for each in caught.value.problems]


async def test_an_unknown_message_is_not_found(client: Client) -> None:
    """It was never sent, or its history has been deleted."""
    unknown = client.message(_new_id())

    for call in (unknown.report(), unknown.progress(), unknown.cancel()):
        with pytest.raises(NotFound, match="There is no message client-"):
            await call


async def test_a_terminated_message_has_no_report(client: Client) -> None:
    """Temporal's own error is raised."""
    message = await client.send({**REQUEST, "send_at": "2099-01-01T00:00:00Z"})
    await message.handle.terminate()

    with pytest.raises(WorkflowFailureError):
        await message.report()
