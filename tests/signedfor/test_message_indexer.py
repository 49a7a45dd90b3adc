"""The indexer against a real Temporal server."""

import asyncio
import logging
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes

from signedfor import client as signedfor_client
from signedfor import visibility_follower
from signedfor.contract import SEND_MESSAGE, MessageRequest, message_workflow_id
from signedfor.message_indexer import MessageIndexer
from signedfor.payloads import data_converter
from signedfor.search_attributes import CAMPAIGN_ID, MESSAGE_STATUS, TENANT, TWILIO_ERROR_CODE
from signedfor.store.database import observe_transactions
from signedfor.store.inbound import Watermarks
from signedfor.store.message_index import IndexedMessage, MessageFilter, MessageIndex
from signedfor.store.people import People
from signedfor.temporal import is_never_connected
from signedfor.workflow_calls import describe
from tests.signedfor.store.indexed_messages import ended, running

TO = "+15558675309"


@pytest.fixture
def index(sqlite_engine: Engine) -> MessageIndex:
    """Its index."""
    return MessageIndex(sqlite_engine)


@pytest.fixture
def indexer(temporal: Client, sqlite_engine: Engine) -> MessageIndexer:
    """An indexer of a Temporal server."""
    return MessageIndexer(temporal, sqlite_engine)


async def _start(temporal: Client, message_id: str, **fields: Any) -> signedfor_client.Message:
    """A message without a worker: it stays as it was started."""
    request = MessageRequest(**{"to": TO, "from": "+15005550006", "body": "Hi", **fields})
    return await signedfor_client.Client(temporal).send(request, message_id=message_id)


async def _start_foreign(temporal: Client, workflow_id: str, *pairs: Any) -> None:
    """A workflow of the type of messages that somebody else has started."""
    await temporal.start_workflow(
        SEND_MESSAGE,
        {"to": "nobody"},
        id=workflow_id,
        task_queue="messages",
        search_attributes=TypedSearchAttributes([SearchAttributePair(*pair) for pair in pairs]),
    )


async def _delete(temporal: Client, message: signedfor_client.Message) -> None:
    """Delete it from Temporal, as its retention would."""
    await temporal.workflow_service.delete_workflow_execution(
        DeleteWorkflowExecutionRequest(
            namespace=temporal.namespace,
            workflow_execution=WorkflowExecution(
                workflow_id=message_workflow_id(message.message_id)
            ),
        )
    )
    async with asyncio.timeout(30):
        while await describe(message.handle) is not None:  # noqa: ASYNC110 - Temporal's own pace
            await asyncio.sleep(0.05)


async def _listed(temporal: Client, count: int, clause: str = "") -> None:
    """Wait until Temporal lists so many messages; it does so a moment after their start."""
    async with asyncio.timeout(30):
        query = f"WorkflowType = '{SEND_MESSAGE}'{clause}"
        while (await temporal.count_workflows(query)).count != count:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.05)


def _found(index: MessageIndex, **wanted: Any) -> list[IndexedMessage]:
    return index.find(MessageFilter(**wanted))


async def test_messages_are_indexed(
    temporal: Client, indexer: MessageIndexer, index: MessageIndex, sqlite_engine: Engine
) -> None:
    """With what Temporal shows, and the recipient's reference from the history."""
    await _start(temporal, "m1", tenant="shop")
    await _listed(temporal, 1)

    await indexer.bring_up_to_date()

    (found,) = _found(index)
    assert ("m1", "sending", "+1500***0006", "shop", None) == (
        found.message_id,
        found.status,
        found.sender,
        found.tenant,
        found.closed_at,
    )
    assert People(sqlite_engine).reference(TO) == found.person


async def test_ends_are_indexed(
    temporal: Client, indexer: MessageIndexer, index: MessageIndex
) -> None:
    """In a later round; a workflow that was terminated has failed."""
    message = await _start(temporal, "m1")
    await _listed(temporal, 1)
    await indexer.bring_up_to_date()
    await message.handle.terminate()
    await _listed(temporal, 0, " AND ExecutionStatus = 'Running'")

    await indexer.bring_up_to_date()

    (found,) = _found(index)
    assert "failed" == found.status
    assert found.closed_at is not None
    assert timedelta(0) < found.closed_at - found.started_at


async def test_a_round_writes_what_has_changed_only(
    temporal: Client, indexer: MessageIndexer, sqlite_engine: Engine
) -> None:
    """What it reads again is not written again; nobody waits for its locks."""
    await _start(temporal, "m1")
    await _listed(temporal, 1)
    await indexer.bring_up_to_date()
    written: list[bool] = []
    observe_transactions(
        sqlite_engine, lambda _seconds, _result, *, read_only: written.append(not read_only)
    )

    await MessageIndexer(temporal, sqlite_engine).bring_up_to_date()

    assert written
    assert not any(written)


async def test_a_brief_round_reads_little(
    temporal: Client,
    indexer: MessageIndexer,
    index: MessageIndex,
    monkeypatch: pytest.MonkeyPatch,
    sqlite_engine: Engine,
) -> None:
    """The next thorough one reads what Temporal has listed late."""
    message = await _start(temporal, "m1")
    await message.handle.terminate()
    await _listed(temporal, 1, " AND ExecutionStatus = 'Terminated'")
    await indexer.bring_up_to_date()
    index.remove(["m1"])
    monkeypatch.setattr(visibility_follower, "OVERLAP", timedelta(seconds=-1))

    await indexer.bring_up_to_date()
    assert 0 == index.size()
    await MessageIndexer(temporal, sqlite_engine).bring_up_to_date()

    assert 1 == index.size()


async def test_an_end_that_was_listed_too_late(
    temporal: Client, indexer: MessageIndexer, index: MessageIndex, sqlite_engine: Engine
) -> None:
    """A message that is not listed as running any more is looked at itself."""
    message = await _start(temporal, "m1")
    await message.handle.terminate()
    await _listed(temporal, 1, " AND ExecutionStatus = 'Terminated'")
    await indexer.bring_up_to_date()
    (found,) = _found(index)
    index.put([replace(found, closed_at=None, status="sending")], overrides=True)
    later = await _start(temporal, "m2")
    await _listed(temporal, 2)
    # The watermarks are past its end by more than any overlap.
    for name in ("message_index_started", "message_index_closed"):
        Watermarks(sqlite_engine).advance(name, found.started_at + timedelta(hours=1))

    await MessageIndexer(temporal, sqlite_engine).bring_up_to_date()

    assert [found] == _found(index, message_id="m1")
    assert [later.message_id] == index.open_ids()


async def test_a_running_message_that_temporal_has_lost(
    temporal: Client, indexer: MessageIndexer, index: MessageIndex, sqlite_engine: Engine
) -> None:
    """It is forgotten: Temporal was restored, or somebody has deleted it."""
    message = await _start(temporal, "m1")
    await _listed(temporal, 1)
    await indexer.bring_up_to_date()
    await _delete(temporal, message)

    await MessageIndexer(temporal, sqlite_engine).bring_up_to_date()

    assert 0 == index.size()


async def test_what_a_database_cannot_store_is_left_out(
    temporal: Client, indexer: MessageIndexer, index: MessageIndex
) -> None:
    """Anybody can start a workflow of this type; the messages around it are indexed."""
    await _start_foreign(temporal, "not-a-message")
    await _start_foreign(temporal, "message:")
    await _start_foreign(temporal, message_workflow_id("x" * 300))
    await _start_foreign(
        temporal,
        message_workflow_id("odd"),
        (TENANT, "t" * 200),
        (CAMPAIGN_ID, "c" * 200),
        (MESSAGE_STATUS, "s" * 200),
        (TWILIO_ERROR_CODE, 2**40),
    )
    await _start(temporal, "m1")
    await _listed(temporal, 5)

    await indexer.bring_up_to_date()

    (odd,) = _found(index, message_id="odd")
    assert ["m1", "odd"] == [each.message_id for each in _found(index)]
    assert ("sending", None, None, None) == (
        odd.status,
        odd.tenant,
        odd.campaign_id,
        odd.error_code,
    )


async def test_the_index_can_be_made_again(
    temporal: Client, indexer: MessageIndexer, index: MessageIndex
) -> None:
    """It then has what Temporal has: nothing more, nothing less, nothing newer."""
    for number in range(5):
        message = await _start(temporal, f"m{number}", to=f"+1555867530{number}")
        if number % 2:
            await message.handle.terminate()
    await _listed(temporal, 2, " AND ExecutionStatus = 'Terminated'")
    await _listed(temporal, 5)
    await indexer.bring_up_to_date()
    before = _found(index)
    index.put([ended(message_id="not in Temporal"), running(message_id="nor this")])
    index.put([replace(before[0], closed_at=datetime.now(UTC), status="delivered")])
    index.remove([before[1].message_id])
    read: list[int] = []

    await indexer.rebuild(read.append)

    assert before == _found(index)
    assert [5] == read


async def test_a_round_in_flight_does_not_undo_the_rebuilding(
    temporal: Client, indexer: MessageIndexer, index: MessageIndex, sqlite_engine: Engine
) -> None:
    """Nor the other way round: the list is never empty, and in the end it is complete."""
    for number in range(20):
        await _start(temporal, f"m{number}")
    await _listed(temporal, 20)
    await indexer.bring_up_to_date()
    sizes: list[int] = []

    async def rounds() -> None:
        while True:
            await MessageIndexer(temporal, sqlite_engine).bring_up_to_date()
            sizes.append(index.size())

    in_flight = asyncio.create_task(rounds())
    for _ in range(3):
        await indexer.rebuild(lambda _count: sizes.append(index.size()))
    in_flight.cancel()

    assert {20} == {*sizes, index.size()}


async def test_one_that_breaks_off_begins_again(
    temporal: Client,
    indexer: MessageIndexer,
    index: MessageIndex,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was stored stays; the index does not count as filled."""
    monkeypatch.setattr(visibility_follower, "_PAGE", 2)
    for number in range(5):
        await _start(temporal, f"m{number}")
    await _listed(temporal, 5)

    def stop(count: int) -> None:
        raise ConnectionAbortedError(count)

    with pytest.raises(ConnectionAbortedError):
        await indexer.bring_up_to_date(stop)
    assert (2, False) == (index.size(), await indexer.is_filled())
    await indexer.bring_up_to_date()

    assert (5, True, 5) == (index.size(), await indexer.is_filled(), await indexer.total())


async def test_bad_input_has_no_person(
    temporal: Client, indexer: MessageIndexer, index: MessageIndex
) -> None:
    """Its history is read once, not in every round."""
    await _start_foreign(temporal, message_workflow_id(str(uuid.uuid4())))
    await _listed(temporal, 1)

    await indexer.bring_up_to_date()

    assert [""] == [each.person for each in _found(index)]
    assert [] == index.without_person(10)


async def test_the_retention_of_temporal_is_ours(
    indexer: MessageIndexer, index: MessageIndex
) -> None:
    """What Temporal has deleted after it is purged; this one keeps less than 40 days."""
    now = datetime.now(UTC)
    index.put([ended(1, closed_at=now - timedelta(days=40)), ended(2, closed_at=now)])

    async with indexer.running(), asyncio.timeout(30):
        while index.size() > 1:  # noqa: ASYNC110 - a database
            await asyncio.sleep(0.05)

    assert ["m2"] == [each.message_id for each in _found(index)]


async def test_a_defect_does_not_end_it(
    temporal: Client,
    indexer: MessageIndexer,
    index: MessageIndex,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is logged by its type, and the next round goes on."""
    monkeypatch.setattr(visibility_follower, "INTERVAL", timedelta(milliseconds=10))
    follow, failures = indexer.bring_up_to_date, iter([ZeroDivisionError(TO)] * 3)

    async def failing() -> None:
        for error in failures:
            raise error
        await follow()

    monkeypatch.setattr(indexer, "bring_up_to_date", failing)
    await _start(temporal, "m1")
    await _listed(temporal, 1)

    async with indexer.running(), asyncio.timeout(30):
        while not index.size():  # noqa: ASYNC110 - a database
            await asyncio.sleep(0.05)

    (line,) = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert "ZeroDivisionError" in line.getMessage()
    assert TO not in caplog.text


async def test_a_temporal_that_was_never_there_is_one_line(
    index: MessageIndex,
    sqlite_engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not one for each round, and no traceback."""
    monkeypatch.setattr(visibility_follower, "INTERVAL", timedelta(milliseconds=10))
    client = await Client.connect("127.0.0.1:9", data_converter=data_converter, lazy=True)
    with pytest.raises(RuntimeError) as raised:
        await client.count_workflows("")
    assert is_never_connected(raised.value)
    assert not is_never_connected(RuntimeError("another"))
    indexer, rounds = MessageIndexer(client, sqlite_engine), 0
    bring_up_to_date = indexer.bring_up_to_date

    async def counting() -> None:
        nonlocal rounds
        rounds += 1
        await bring_up_to_date()

    monkeypatch.setattr(indexer, "bring_up_to_date", counting)

    async with indexer.running(), asyncio.timeout(30):
        while rounds < 3:  # noqa: ASYNC110 - the indexer's own pace
            await asyncio.sleep(0.05)

    assert ["The message index is not brought up to date: RuntimeError"] == [
        each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING
    ]
    assert 0 == index.size()
