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
from tests.webhook.recorded import new_message_id, open_letter, open_message, received
from tests.webhook.support import SID
from webhook.temporal import Signaled, SignalTarget, StatusSignals, Unavailable

pytestmark = pytest.mark.integration

STATUS = DeliveryStatus(message_sid=SID, message_status="delivered")


def _signals(client: Client, seconds: float = 3) -> StatusSignals:
    return StatusSignals(client, timeout=timedelta(seconds=seconds))


async def test_signals_the_open_message(client: Client) -> None:
    """An open message gets the receipt, and its dead letter does not."""
    message_id = new_message_id()
    message = await open_message(client, message_id)
    letter = await open_letter(client, message_id)

    taker = await _signals(client).send(message_id, STATUS)

    assert Signaled(SignalTarget.MESSAGE) == taker
    assert [STATUS] == await received(client, message)
    assert [] == await received(client, letter)


async def test_signals_the_dead_letter_of_a_closed_message(client: Client) -> None:
    """A receipt that comes after the message was closed goes to its dead letter."""
    message_id = new_message_id()
    message = await open_message(client, message_id)
    letter = await open_letter(client, message_id)
    await message.terminate()

    taker = await _signals(client).send(message_id, STATUS)

    assert Signaled(SignalTarget.DEAD_LETTER) == taker
    assert [STATUS] == await received(client, letter)


async def test_no_workflow_waits_for_what_is_closed_or_unknown(client: Client) -> None:
    """Closed messages without a letter, closed letters and unknown ids are no errors."""
    closed, both_closed = new_message_id(), new_message_id()
    for handle in (
        await open_message(client, closed),
        await open_message(client, both_closed),
        await open_letter(client, both_closed),
    ):
        await handle.terminate()

    takers = [
        await _signals(client).send(message_id, STATUS)
        for message_id in (closed, both_closed, new_message_id())
    ]

    assert [Signaled(SignalTarget.NONE)] * 3 == takers


async def test_a_missing_namespace_is_no_closed_message(temporal_server: TemporalServer) -> None:
    """Temporal says NOT_FOUND for its namespace too; then no receipt is safe."""
    client = await Client.connect(
        temporal_server.address, namespace="not-there", data_converter=data_converter, lazy=True
    )

    answer = await _signals(client).send(new_message_id(), STATUS)

    assert Unavailable("Temporal answered NOT_FOUND") == answer


async def test_says_when_temporal_cannot_be_reached(client_without_server: Client) -> None:
    """A refused connection is said at once, and without any detail of the receipt."""
    answer = await _signals(client_without_server).send(new_message_id(), STATUS)

    assert Unavailable("Temporal cannot be reached") == answer


@pytest.fixture
def silent_address() -> Iterator[str]:
    """An address that takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


async def test_does_not_wait_longer_than_its_timeout(silent_address: str) -> None:
    """A Temporal that never answers costs the timeout, also for those who wait behind another."""
    client = await Client.connect(silent_address, data_converter=data_converter, lazy=True)
    receipts = _signals(client, 0.3)
    started = time.monotonic()

    answers = await asyncio.gather(*(receipts.send(new_message_id(), STATUS) for _ in range(5)))

    assert [Unavailable("Temporal did not answer in time")] * 5 == answers
    assert 2 > time.monotonic() - started


async def test_recovers_when_temporal_comes_up_and_comes_back(
    stopped_server: TemporalServer,
) -> None:
    """One client serves before Temporal is there, while it is, while it is gone and after."""
    client = await Client.connect(stopped_server.address, data_converter=data_converter, lazy=True)
    receipts = _signals(client, 1)
    takers: list[SignalTarget | None] = []

    async def attempt() -> None:
        answer = await receipts.send("unknown", STATUS)
        takers.append(answer.target if isinstance(answer, Signaled) else None)

    await attempt()
    for _ in range(2):
        await asyncio.to_thread(stopped_server.start)
        async with asyncio.timeout(30):
            while takers[-1] is None:
                await attempt()
        await asyncio.to_thread(stopped_server.stop)
        await attempt()

    settled = [
        taker for taker, before in zip(takers, [0, *takers], strict=False) if taker != before
    ]
    assert [None, SignalTarget.NONE, None, SignalTarget.NONE, None] == settled
