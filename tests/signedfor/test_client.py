"""The typed client, against a real server and scripted activities."""

import uuid
from collections.abc import AsyncIterator

import pytest
import temporalio.client
from temporalio.client import WorkflowFailureError

from devtools.stack.temporal_server import TemporalServer
from signedfor.client import BadInput, Client, FieldProblem, Message, NotFound
from signedfor.contract import MessageRequest, Outcome
from signedfor.search_attributes import MESSAGE_SENDER, MESSAGE_STATUS, TENANT
from tests.workflows.fakes import REQUEST, Environment, FakeActivities, callback, serving

TO = REQUEST["to"]


@pytest.fixture
async def real_world(temporal: temporalio.client.Client) -> AsyncIterator[Environment]:
    """Workflows and scripted activities on the real server."""
    fakes = FakeActivities()
    async with serving(temporal, fakes):
        yield Environment(temporal, fakes)


@pytest.fixture
async def client(real_world: Environment, temporal_server: TemporalServer) -> Client:
    """A client by a connection of its own."""
    return await Client.connect(temporal_server.address, namespace=real_world.client.namespace)


def _sent(world: Environment) -> list[str]:
    """The ids of the messages for which a POST was made."""
    return [each.message_id for each in world.fakes.posts]


async def _posted(world: Environment, message: Message) -> None:
    await world.until(lambda: message.message_id in _sent(world))


def _new_id() -> str:
    return f"client-{uuid.uuid4().hex}"


async def test_sends_a_message_and_reports_its_outcome(
    real_world: Environment, client: Client
) -> None:
    """A dict by the contract's names is a message; its report is typed."""
    message = await client.send({**REQUEST, "tenant": "acme"}, message_id=_new_id())
    await _posted(real_world, message)
    await callback(message.handle, "delivered")

    report = await message.report()

    assert message.is_new
    assert (message.message_id, Outcome.DELIVERED) == (report.message_id, report.outcome)


async def test_a_started_message_can_be_found_by_its_attributes(
    client: Client,
) -> None:
    """Status, sender and tenant are there from the start, whatever the workers do."""
    request = MessageRequest(to=TO, sender=REQUEST["from"], body="Hi", tenant="acme")
    message = await client.send(request)

    attributes = (await message.handle.describe()).typed_search_attributes

    assert ("acme", "+1500***0006") == (attributes[TENANT], attributes[MESSAGE_SENDER])
    assert attributes[MESSAGE_STATUS] in {"sending", "awaiting_receipt"}


async def test_the_same_id_again_sends_nothing(real_world: Environment, client: Client) -> None:
    """While it runs and after it has ended, it is the earlier message, and says so."""
    message_id = _new_id()
    first = await client.send(REQUEST, message_id=message_id)
    while_running = await client.send({**REQUEST, "body": "Other"}, message_id=message_id)
    await _posted(real_world, first)
    await callback(first.handle, "delivered")
    await first.report()
    afterwards = await client.send(REQUEST, message_id=message_id)

    assert [True, False, False] == [each.is_new for each in (first, while_running, afterwards)]
    assert await first.report() == await afterwards.report()
    assert 1 == _sent(real_world).count(message_id)


async def test_progress(real_world: Environment, client: Client) -> None:
    """It says what a running message waits for."""
    message = await client.send({**REQUEST, "send_at": "2099-01-01T00:00:00Z"})

    progress = await message.progress()

    assert ("scheduled", "its send_at") == (progress.status, progress.waiting_for)
    assert message.message_id not in _sent(real_world)


async def test_cancels_a_message_that_was_not_sent(real_world: Environment, client: Client) -> None:
    """The answer is certain, also when it is asked for again after the end."""
    message = await client.send({**REQUEST, "send_at": "2099-01-01T00:00:00Z"})

    answers = [await message.cancel(by="ops", reason="wrong text") for _ in range(2)]

    assert [(True, "canceled")] * 2 == [(each.canceled, each.status) for each in answers]
    assert Outcome.CANCELED is (await message.report()).outcome
    assert message.message_id not in _sent(real_world)


async def test_too_late_to_cancel(real_world: Environment, client: Client) -> None:
    """Twilio has it: it is not canceled, while it waits for the receipt and afterwards."""
    message = await client.send(REQUEST)
    await _posted(real_world, message)
    waiting = await message.cancel()
    await callback(message.handle, "delivered")
    await message.report()
    ended = await message.cancel()

    assert [(False, "awaiting_receipt"), (False, "delivered")] == [
        (each.canceled, each.status) for each in (waiting, ended)
    ]


async def test_bad_input_is_refused_before_it_is_started(client: Client) -> None:
    """One exception names every bad field and repeats no value."""
    message_id = f"order {TO}"
    with pytest.raises(BadInput) as caught:
        await client.send({"to": "5558675309", "priority": "soon"}, message_id=message_id)

    assert {"to", "priority", "body", "message_id"} == {
        each.field for each in caught.value.problems
    }
    assert "8675309" not in str(caught.value)


@pytest.mark.parametrize("field", ["message_id", "tenant"])
async def test_the_recipients_number_is_refused_where_it_would_show(
    client: Client, field: str
) -> None:
    """Ids and tenants are stored in clear."""
    number = TO.removeprefix("+")
    request = {**REQUEST, "tenant": f"t-{number}"} if field == "tenant" else REQUEST
    with pytest.raises(BadInput) as caught:
        await client.send(request, message_id=number if field == "message_id" else None)

    assert (FieldProblem(field, "must not contain the recipient's number"),) == (
        caught.value.problems
    )


async def test_bad_input_that_only_a_worker_can_tell(client: Client) -> None:
    """A message without a sender, where workers have no default one, is bad input too."""
    message = await client.send({"to": TO, "body": "Hi"})

    with pytest.raises(BadInput) as caught:
        await message.report()

    assert ["from"] == [each.field for each in caught.value.problems]


async def test_a_cancel_with_too_long_a_reason(client: Client) -> None:
    """It is bad input, like everything else that is not as the contract says."""
    with pytest.raises(BadInput) as caught:
        await client.message("m1").cancel(reason="x" * 1001)

    assert ["reason"] == [each.field for each in caught.value.problems]


async def test_an_unknown_message(client: Client) -> None:
    """A message that was never sent, or is not kept any more, is not found."""
    unknown = client.message(_new_id())

    for asking in (unknown.report(), unknown.progress(), unknown.cancel()):
        with pytest.raises(NotFound, match="There is no message client-"):
            await asking


async def test_a_terminated_message(client: Client) -> None:
    """It has no report; Temporal's own error says so."""
    message = await client.send({**REQUEST, "send_at": "2099-01-01T00:00:00Z"})
    await message.handle.terminate()

    with pytest.raises(WorkflowFailureError):
        await message.report()
