import asyncio
import socket
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from temporalio.client import Client

from devtools.stack.temporal_server import TemporalServer
from signedfor.contract import DeliveryStatus
from signedfor.payloads import data_converter
from tests.webhook.support import SID
from tests.webhook.workflows import new_message_id, open_dead_letter, open_message, received
from webhook.temporal import Signaled, SignalTarget, StatusSignals, Unavailable

pytestmark = pytest.mark.integration

STATUS = DeliveryStatus(message_sid=SID, message_status="delivered")


def _signals(client: Client, seconds: float = 3) -> StatusSignals:
    return StatusSignals(client, timeout=timedelta(seconds=seconds))


async def test_a_receipt_is_signaled_to_the_open_message(client: Client) -> None:
    """Its dead letter does not receive it."""
    message_id = new_message_id()
    message = await open_message(client, message_id)
    dead_letter = await open_dead_letter(client, message_id)

    target = await _signals(client).send(message_id, STATUS)

    assert Signaled(SignalTarget.MESSAGE) == target
    assert [STATUS] == await received(client, message)
    assert [] == await received(client, dead_letter)


async def test_a_receipt_is_signaled_to_the_dead_letter_of_a_closed_message(
    client: Client,
) -> None:
    """It comes after the message has closed."""
    message_id = new_message_id()
    message = await open_message(client, message_id)
    dead_letter = await open_dead_letter(client, message_id)
    await message.terminate()

    target = await _signals(client).send(message_id, STATUS)

    assert Signaled(SignalTarget.DEAD_LETTER) == target
    assert [STATUS] == await received(client, dead_letter)


async def test_a_receipt_without_an_open_workflow_is_no_error(client: Client) -> None:
    """The message is closed without a dead letter, its dead letter is closed, or it is unknown."""
    closed, both_closed = new_message_id(), new_message_id()
    for handle in (
        await open_message(client, closed),
        await open_message(client, both_closed),
        await open_dead_letter(client, both_closed),
    ):
        await handle.terminate()

    targets = [
        await _signals(client).send(message_id, STATUS)
        for message_id in (closed, both_closed, new_message_id())
    ]

    assert [Signaled(SignalTarget.NONE)] * 3 == targets


async def test_with_a_missing_namespace_temporal_is_unavailable(
    temporal_server: TemporalServer,
) -> None:
    """Temporal's NOT_FOUND for a namespace must not be taken for that of a workflow."""
    client = await Client.connect(
        temporal_server.address, namespace="missing", data_converter=data_converter, lazy=True
    )

    result = await _signals(client).send(new_message_id(), STATUS)

    assert Unavailable("Temporal answered NOT_FOUND") == result


async def test_an_unreachable_temporal_is_unavailable(client_without_server: Client) -> None:
    """The result comes at once, and contains no detail of the receipt."""
    result = await _signals(client_without_server).send(new_message_id(), STATUS)

    assert Unavailable("Temporal cannot be reached") == result


@pytest.fixture
def unresponsive_address() -> Iterator[str]:
    """An address that accepts connections and never responds."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


async def test_signals_time_out(unresponsive_address: str) -> None:
    """If Temporal never responds, concurrent signals all fail after the timeout."""
    client = await Client.connect(unresponsive_address, data_converter=data_converter, lazy=True)
    receipts = _signals(client, 0.3)
    start = time.monotonic()

    results = await asyncio.gather(*(receipts.send(new_message_id(), STATUS) for _ in range(5)))

    assert [Unavailable("Temporal did not answer in time")] * 5 == results
    assert 2 > time.monotonic() - start


async def test_one_client_survives_outages_of_temporal(
    stopped_server: TemporalServer,
) -> None:
    """It can be used before Temporal is up, after that, and after another outage."""
    client = await Client.connect(stopped_server.address, data_converter=data_converter, lazy=True)
    receipts = _signals(client, 1)
    targets: list[SignalTarget | None] = []

    async def attempt() -> None:
        result = await receipts.send("unknown", STATUS)
        targets.append(result.target if isinstance(result, Signaled) else None)

    await attempt()
    for _ in range(2):
        await asyncio.to_thread(stopped_server.start)
        async with asyncio.timeout(30):
            while targets[-1] is None:
                await attempt()
        await asyncio.to_thread(stopped_server.stop)
        await attempt()

    changes = [
        target for target, before in zip(targets, [0, *targets], strict=False) if target != before
    ]
    assert [None, SignalTarget.NONE, None, SignalTarget.NONE, None] == changes
