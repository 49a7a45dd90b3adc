"""The typed client's keys, with a real server and fake activities."""

import asyncio
import uuid

import pytest
import temporalio.client

from devtools.stack.temporal_server import TemporalServer
from signedfor.client import Client, UnreadablePayload
from signedfor.contract import Outcome
from signedfor.encryption import Encryption, encrypting
from signedfor.errors import InvalidSettings
from tests.encryption import KEYS
from tests.workflows.fakes import REQUEST, Environment, FakeActivities, callback, serving

_OTHER = "other=" + "B" * 43 + "="
_ENCRYPTION = Encryption.parse(KEYS)


def _encrypting(client: temporalio.client.Client) -> temporalio.client.Client:
    config = client.config()
    config["data_converter"] = encrypting(_ENCRYPTION, client.namespace)
    return temporalio.client.Client(**config)


async def test_without_a_key_it_does_not_connect(
    temporal_server: TemporalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that was given no key must not send clear text by mistake."""
    monkeypatch.delenv("PAYLOAD_ENCRYPTION")

    with pytest.raises(InvalidSettings, match="there is no key"):
        await Client.connect(temporal_server.address)
    clear = await Client.connect(temporal_server.address, encryption="off")
    monkeypatch.setenv("PAYLOAD_KEYS", KEYS)
    encrypted = await Client.connect(temporal_server.address)

    assert clear.data_converter.payload_codec is None
    assert encrypted.data_converter.payload_codec is not None


async def test_an_encrypted_message_is_sent_and_reported(
    temporal: temporalio.client.Client, temporal_server: TemporalServer
) -> None:
    """With the keys that are passed; with others, each answer is a sentence that names the key."""
    address, namespace = temporal_server.address, temporal.namespace
    ours = await Client.connect(address, namespace=namespace, encryption=_ENCRYPTION)
    theirs = await Client.connect(address, namespace=namespace, encryption=Encryption.parse(_OTHER))
    worker, fakes = _encrypting(temporal), FakeActivities()
    async with serving(worker, fakes):
        message = await ours.send(REQUEST, message_id=uuid.uuid4().hex)
        await Environment(worker, fakes).until(lambda: bool(fakes.posts))
        with pytest.raises(UnreadablePayload, match="with the key test, which is not among"):
            await theirs.message(message.message_id).progress()
        await callback(message.handle, "delivered")
        report = await asyncio.wait_for(message.report(), 30)
        with pytest.raises(UnreadablePayload, match="with the key test, which is not among"):
            await theirs.message(message.message_id).report()

    assert Outcome.DELIVERED is report.outcome
    request = await ours.request_of(message)
    assert request is not None
    assert REQUEST["to"] == request.to
    assert await theirs.request_of(theirs.message(message.message_id)) is None
    again = await ours.send({**REQUEST, "body": "Another."}, message_id=message.message_id)
    assert ("body",) == again.differs_in


async def test_a_connection_keeps_its_codec(temporal: temporalio.client.Client) -> None:
    """`Client(temporal)` writes as the connection that it is given does."""
    connection = _encrypting(temporal)

    codec = Client(connection).data_converter.payload_codec

    assert connection.data_converter.payload_codec is codec
    assert codec is not None
    assert Client(temporal).data_converter.payload_codec is None
