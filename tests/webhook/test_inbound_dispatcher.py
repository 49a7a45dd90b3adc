"""The inbound dispatcher: each inbound message starts the service's workflow once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import Engine
from temporalio.api.enums.v1 import EventType
from temporalio.client import (
    Client,
    Interceptor,
    OutboundInterceptor,
    StartWorkflowInput,
    WorkflowHandle,
)
from temporalio.service import RPCError, RPCStatusCode

from devtools.stack.temporal_server import TemporalServer
from signedfor.contract import InboundKind, InboundMessage, inbound_workflow_id
from signedfor.inbound import InboundRecord
from signedfor.payloads import data_converter
from signedfor.settings import Settings
from signedfor.store.database import DatabaseUnavailable
from signedfor.store.inbound import InboundMessages
from signedfor.store.inbound_outbox import InboundOutbox
from signedfor.store.inbox import Backlog
from signedfor.store.suppressions import Suppressions
from tests.webhook.support import PERSON, SENDER, SETTINGS, Twilio, metric
from webhook.app import create_app

pytestmark = pytest.mark.integration

DISPATCHES = SETTINGS.model_copy(
    update={"inbound_workflow": "AnswerReply", "inbound_task_queue": "no-worker"}
)
SERVICE = "MG" + "d" * 32


@pytest.fixture(autouse=True)
def short_poll_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the dispatcher poll the outbox more often than every three seconds."""
    monkeypatch.setattr("webhook.inbound_dispatcher.POLL_SECONDS", 0.3)


def _sid() -> str:
    return f"SM{uuid4().hex}"


@asynccontextmanager
async def _running(
    client: Client, engine: Engine, settings: Settings = DISPATCHES
) -> AsyncIterator[Twilio]:
    app = create_app(settings, client=client, engine=engine)
    twilio = Twilio.calling(app)
    async with app.router.lifespan_context(app), twilio.http:
        yield twilio


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - it asks a database
            await asyncio.sleep(0.05)


def _is_empty(engine: Engine) -> Callable[[], bool]:
    return lambda: InboundOutbox(engine, keeps_texts=True).backlog().count == 0


def _store(engine: Engine, sid: str) -> None:
    """As a worker stores a message, which it recorded after an outage or found in Twilio's list."""
    record = InboundRecord(
        message_sid=sid,
        from_=PERSON,
        to=SENDER,
        kind=InboundKind.OTHER,
        body="see you then",
        received_at=datetime.now(UTC) - timedelta(minutes=1),
    )
    assert InboundMessages(engine, texts=DISPATCHES.inbound_texts).receive(record)


async def _input(client: Client, sid: str) -> InboundMessage:
    """What the workflow for this message was started with."""
    handle: WorkflowHandle[object, object] = client.get_workflow_handle(inbound_workflow_id(sid))
    first = await anext(handle.fetch_history_events())
    assert first.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED
    started = first.workflow_execution_started_event_attributes
    assert ("AnswerReply", "no-worker") == (started.workflow_type.name, started.task_queue.name)
    (message,) = await client.data_converter.decode(started.input.payloads, [InboundMessage])
    assert isinstance(message, InboundMessage)
    return message


async def test_a_message_starts_the_workflow(client: Client, engine: Engine) -> None:
    """With everything that Twilio sent, whether or not a worker polls its task queue."""
    sid = _sid()
    async with _running(client, engine) as twilio:
        response = await twilio.inbound(
            "where is my parcel?",
            MessageSid=sid,
            MessagingServiceSid=SERVICE,
            NumMedia="2",
            MediaUrl0="https://api.example/ME1",
            MediaContentType0="image/jpeg",
            MediaUrl1="https://api.example/ME2",
        )
        await _until(_is_empty(engine))
        started = await metric(
            twilio.http, "signedfor_webhook_dispatched_messages_total", result="started"
        )

    message = await _input(client, sid)
    assert 200 == response.status_code
    assert 1 == started
    assert (sid, PERSON, SENDER, SERVICE, "where is my parcel?", InboundKind.OTHER) == (
        message.message_sid,
        message.from_,
        message.to,
        message.messaging_service_sid,
        message.text,
        message.kind,
    )
    assert [("https://api.example/ME1", "image/jpeg"), ("https://api.example/ME2", "")] == [
        (each.url, each.content_type) for each in message.media
    ]


async def test_a_stop_is_in_force_before_its_workflow_starts(
    client: Client, engine: Engine
) -> None:
    """The workflow learns of it all the same."""
    sid = _sid()
    async with _running(client, engine) as twilio:
        await twilio.inbound("STOP", MessageSid=sid)
        opted_out = len(Suppressions(engine).list_())
        await _until(_is_empty(engine))

    assert 1 == opted_out
    assert InboundKind.STOP is (await _input(client, sid)).kind


async def test_without_the_setting_no_workflow_is_started(
    client: Client, sqlite_engine: Engine
) -> None:
    """The message is stored."""
    sid = _sid()
    async with _running(client, sqlite_engine, SETTINGS) as twilio:
        await twilio.inbound("hello", MessageSid=sid)

    [listed] = InboundMessages(sqlite_engine).list_()
    assert not listed.awaits_dispatch
    with pytest.raises(RPCError) as caught:
        await client.get_workflow_handle(inbound_workflow_id(sid)).describe()
    assert RPCStatusCode.NOT_FOUND is caught.value.status


async def test_a_new_message_does_not_wait_for_the_next_poll(
    client: Client, sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It wakes the dispatcher."""
    monkeypatch.setattr("webhook.inbound_dispatcher.POLL_SECONDS", 3600)
    async with _running(client, sqlite_engine) as twilio:
        for _ in range(3):
            await twilio.inbound("hello", MessageSid=_sid())
            await _until(_is_empty(sqlite_engine))

    assert 3 == len(InboundMessages(sqlite_engine).list_())


async def test_what_a_worker_recorded_is_dispatched(client: Client, engine: Engine) -> None:
    """After an outage of the database or of the webhook."""
    sid = _sid()
    async with _running(client, engine):
        await asyncio.to_thread(_store, engine, sid)
        await _until(_is_empty(engine))

    assert "see you then" == (await _input(client, sid)).text


async def test_copies_of_a_message_start_one_workflow(client: Client, engine: Engine) -> None:
    """Two processes receive it several times at once, and both dispatch."""
    sids = [_sid() for _ in range(5)]
    async with _running(client, engine) as first, _running(client, engine) as second:
        await asyncio.gather(
            *(
                twilio.inbound("hello", MessageSid=sid)
                for sid in sids
                for twilio in (first, second) * 5
            )
        )
        await _until(_is_empty(engine))

    async def count(sid: str) -> int:
        query = f"WorkflowId = 'inbound:{sid}'"
        return len([each async for each in client.list_workflows(query)])

    # Temporal lists them after a moment.
    while 0 in (counted := [await count(sid) for sid in sids]):  # noqa: ASYNC110 - in Temporal
        await asyncio.sleep(0.05)
    assert [1] * 5 == counted


async def test_a_workflow_that_has_run_is_not_started_again(
    client: Client, sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process died after the start and before the outbox knew; the workflow even failed."""
    monkeypatch.setattr("webhook.inbound_dispatcher.LEASE", timedelta(0))
    sid = _sid()
    handle = await client.start_workflow(
        "AnswerReply", id=inbound_workflow_id(sid), task_queue="no-worker"
    )
    await handle.terminate()
    _store(sqlite_engine, sid)

    async with _running(client, sqlite_engine):
        await _until(_is_empty(sqlite_engine))

    described = await client.get_workflow_handle(inbound_workflow_id(sid)).describe()
    assert handle.first_execution_run_id == described.run_id


async def test_messages_wait_while_temporal_is_away(
    stopped_server: TemporalServer, engine: Engine
) -> None:
    """They are answered 200 at once, and dispatched when it is back."""
    sids = [_sid() for _ in range(3)]
    client = await Client.connect(stopped_server.address, data_converter=data_converter, lazy=True)
    async with _running(client, engine) as twilio:
        responses = [await twilio.inbound("hello", MessageSid=sid) for sid in sids]
        waiting = InboundOutbox(engine, keeps_texts=True).backlog().count

        async def counted() -> float:
            return await metric(twilio.http, "signedfor_webhook_undispatched_messages")

        async with asyncio.timeout(30):
            while await counted() < 3:  # noqa: ASYNC110 - it is counted in the background
                await asyncio.sleep(0.05)
        oldest = await metric(twilio.http, "signedfor_webhook_undispatched_oldest_seconds")
        await asyncio.to_thread(stopped_server.start)
        await _until(_is_empty(engine))

    assert [200] * 3 == [each.status_code for each in responses]
    assert 3 == waiting
    assert oldest > 0
    assert ["hello"] * 3 == [(await _input(client, sid)).text for sid in sids]


class _Refuses(Interceptor):
    """Refuses to start the workflow with this id, as the server refuses what it cannot store."""

    def __init__(self, workflow_id: str) -> None:
        self._workflow_id = workflow_id
        self.refused = 0

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        """See base class."""
        outer = self

        class _Outbound(OutboundInterceptor):
            async def start_workflow(
                self, input: StartWorkflowInput
            ) -> WorkflowHandle[object, object]:
                if input.id == outer._workflow_id:
                    outer.refused += 1
                    raise RPCError("refused", RPCStatusCode.INVALID_ARGUMENT, b"")
                return await super().start_workflow(input)

        return _Outbound(next)


async def test_a_message_that_temporal_rejects_does_not_hold_up_others(
    client: Client, sqlite_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """It stays in the outbox, and is tried again later; the log has its SID only."""
    rejected, other = _sid(), _sid()
    refuses = _Refuses(inbound_workflow_id(rejected))
    config = client.config()
    config["interceptors"] = [refuses]
    async with _running(Client(**config), sqlite_engine) as twilio:
        await twilio.inbound("hello", MessageSid=rejected)
        await _until(lambda: refuses.refused > 0)
        await twilio.inbound("hello", MessageSid=other)
        await _until(lambda: InboundMessages(sqlite_engine).list_()[0].dispatched_at is not None)

    assert 1 == refuses.refused
    [waiting] = InboundMessages(sqlite_engine).list_(undispatched_only=True)
    assert rejected == waiting.message_sid
    assert rejected in caplog.text
    assert PERSON not in caplog.text
    assert "hello" not in caplog.text


@pytest.mark.parametrize("error", [DatabaseUnavailable("away"), RuntimeError("a defect")])
async def test_an_error_does_not_end_the_dispatching(
    client: Client, sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """What comes after it is dispatched."""
    sid = _sid()
    calls = 0
    backlog = InboundOutbox.backlog

    def failing_once(self: InboundOutbox) -> Backlog:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise error
        return backlog(self)

    monkeypatch.setattr(InboundOutbox, "backlog", failing_once)
    async with _running(client, sqlite_engine) as twilio:
        await _until(lambda: calls > 0)
        await twilio.inbound("hello", MessageSid=sid)
        await _until(lambda: InboundMessages(sqlite_engine).list_()[0].dispatched_at is not None)

    assert "hello" == (await _input(client, sid)).text
