"""The indexer against a real Temporal server."""

import asyncio
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine
from temporalio.client import Client

from signedfor import client as signedfor_client
from signedfor import message_indexer
from signedfor.contract import MessageRequest, message_workflow_id
from signedfor.message_indexer import MessageIndexer
from signedfor.store.database import open_engine
from signedfor.store.message_index import IndexedMessage, MessageFilter, MessageIndex
from signedfor.store.people import People

TO = "+15558675309"


@pytest.fixture
def engine(sqlite_url: str) -> Iterator[Engine]:
    """A migrated database."""
    engine = open_engine(sqlite_url)
    yield engine
    engine.dispose()


async def _start(temporal: Client, message_id: str, **fields: Any) -> signedfor_client.Message:
    """A message without a worker: it stays as it was started."""
    request = MessageRequest(**{"to": TO, "from": "+15005550006", "body": "Hi", **fields})
    return await signedfor_client.Client(temporal).send(request, message_id=message_id)


async def _round(indexer: MessageIndexer, index: MessageIndex, count: int) -> list[IndexedMessage]:
    """Rounds until Temporal lists so many messages; it does so a moment after their start."""
    for _ in range(100):
        await indexer.bring_up_to_date()
        found = index.find(MessageFilter())
        if len(found) == count:
            return found
    raise AssertionError(f"{len(found)} messages instead of {count}")


async def test_messages_are_indexed(temporal: Client, engine: Engine) -> None:
    """With what Temporal shows, and the recipient's reference from the history."""
    index, indexer = MessageIndex(engine), MessageIndexer(temporal, engine)
    await _start(temporal, "m1", tenant="shop")

    (found,) = await _round(indexer, index, 1)

    assert ("m1", "sending", "+1500***0006", "shop", None) == (
        found.message_id,
        found.status,
        found.sender,
        found.tenant,
        found.closed_at,
    )
    assert People(engine).reference(TO) == found.person


async def test_ends_are_indexed(temporal: Client, engine: Engine) -> None:
    """In a later round; a workflow that was terminated has failed."""
    index, indexer = MessageIndex(engine), MessageIndexer(temporal, engine)
    message = await _start(temporal, "m1")
    await _round(indexer, index, 1)
    await message.handle.terminate()

    for _ in range(100):
        await indexer.bring_up_to_date()
        (found,) = index.find(MessageFilter())
        if found.closed_at is not None:
            break

    assert "failed" == found.status
    assert found.closed_at is not None
    assert timedelta(0) < found.closed_at - found.started_at


async def test_the_index_can_be_made_again(temporal: Client, engine: Engine) -> None:
    """From nothing, it has the same rows."""
    index, indexer = MessageIndex(engine), MessageIndexer(temporal, engine)
    for number in range(5):
        message = await _start(temporal, f"m{number}", to=f"+1555867530{number}")
        if number % 2:
            await message.handle.terminate()
    await _round(indexer, index, 5)
    await MessageIndexer(temporal, engine).rebuild()
    before = index.find(MessageFilter())
    index.put([replace(before[0], message_id="not in Temporal")])

    await indexer.rebuild()

    assert before == index.find(MessageFilter())


async def test_bad_input_has_no_person(temporal: Client, engine: Engine) -> None:
    """Its history is read once, not in every round."""
    index, indexer = MessageIndex(engine), MessageIndexer(temporal, engine)
    await temporal.start_workflow(
        "SendMessage",
        {"to": "nobody"},
        id=message_workflow_id(str(uuid.uuid4())),
        task_queue="messages",
    )

    (found,) = await _round(indexer, index, 1)

    assert "" == found.person
    assert [] == index.without_person(10)


async def test_it_goes_on_once_temporal_is_there(
    temporal: Client,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A process may start before Temporal does: its client has not connected then."""
    monkeypatch.setattr(message_indexer, "INTERVAL", timedelta(milliseconds=20))
    nowhere = await Client.connect("127.0.0.1:9", lazy=True)
    indexer, index = MessageIndexer(nowhere, engine), MessageIndex(engine)
    await _start(temporal, "m1", to="+15558675301")

    async with indexer.running(), asyncio.timeout(30):
        while "RuntimeError" not in caplog.text:  # noqa: ASYNC110 - in the background
            await asyncio.sleep(0.02)
        indexer._temporal = temporal
        indexer._messages = signedfor_client.Client(temporal)
        while not index.find(MessageFilter()):  # noqa: ASYNC110 - in the background
            await asyncio.sleep(0.05)
