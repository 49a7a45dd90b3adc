"""Recent callbacks that were not signaled: kept for a while, and replayed if they are needed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from sqlalchemy import Engine
from temporalio.client import Client

from devtools.stack.temporal_server import TemporalServer
from signedfor.contract import DeliveryStatus, Stage, message_workflow_id
from signedfor.payloads import data_converter
from tests.webhook.support import PERSON, SETTINGS, SID, Twilio, metric
from tests.webhook.workflows import Handle, message_at, new_message_id, received
from webhook.app import create_app
from webhook.recent_callbacks import RETENTION_SECONDS, RecentCallbacks
from webhook.temporal import (
    Rejected,
    Signaled,
    SignalTarget,
    StatusSignals,
    Unavailable,
)

_OTHER_SID = "SM" + "c" * 32


@dataclass
class Clock:
    """A clock that tests advance."""

    now: float = 1000.0

    def __call__(self) -> float:
        """The current time."""
        return self.now


def _status(status: str = "sent", sid: str = SID) -> DeliveryStatus:
    return DeliveryStatus(message_sid=sid, message_status=status)


def _of(recent: RecentCallbacks, *message_ids: str) -> list[tuple[str, str, str]]:
    return [
        (message_id, status.message_sid, status.message_status)
        for message_id, status in recent.of({message_workflow_id(each) for each in message_ids})
    ]


def test_the_last_status_of_each_sid_is_kept() -> None:
    """A message may have several SIDs."""
    recent = RecentCallbacks()
    for status in (_status("queued"), _status("queued", _OTHER_SID), _status("sent")):
        recent.add("order-1", status)
    recent.add("order-2", _status())

    assert [
        ("order-1", _OTHER_SID, "queued"),
        ("order-1", SID, "sent"),
    ] == _of(recent, "order-1", "order-3")

    recent.remove("order-1", _status("delivered"))
    assert [("order-1", _OTHER_SID, "queued")] == _of(recent, "order-1")
    assert 2 == len(recent)


def test_old_callbacks_are_dropped() -> None:
    """They are dropped after the retention time, even if there are few."""
    clock = Clock()
    recent = RecentCallbacks(clock=clock)
    recent.add("order-1", _status("queued"))
    recent.add("order-2", _status("queued"))
    clock.now += RETENTION_SECONDS - 1
    recent.add("order-1", _status("sent"))

    assert 2 == len(recent)
    clock.now += 2
    assert 1 == len(recent)
    assert [("order-1", SID, "sent")] == _of(recent, "order-1", "order-2")


def test_the_oldest_callbacks_are_dropped_if_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The number of callbacks is limited."""
    monkeypatch.setattr("webhook.recent_callbacks.MAX_CALLBACKS", 3)
    recent = RecentCallbacks()

    for number in range(5):
        recent.add(f"order-{number}", _status())

    assert ["order-2", "order-3", "order-4"] == [
        message_id for message_id, *_ in _of(recent, *(f"order-{n}" for n in range(5)))
    ]


@pytest.fixture
def short_poll_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the replayer query Temporal often, with one message per page."""
    monkeypatch.setattr("webhook.recent_callbacks.POLL_SECONDS", 0.1)
    monkeypatch.setattr("webhook.recent_callbacks._PAGE_SIZE", 1)


@asynccontextmanager
async def _running(client: Client, engine: Engine) -> AsyncIterator[Twilio]:
    app = create_app(SETTINGS, client=client, engine=engine)
    twilio = Twilio.calling(app)
    async with app.router.lifespan_context(app), twilio.http:
        yield twilio


async def _until(condition: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(60):
        while not await condition():  # noqa: ASYNC110 - it asks a server
            await asyncio.sleep(0.05)


async def _received(client: Client, handle: Handle) -> list[tuple[str, str]]:
    return [(each.message_sid, each.message_status) for each in await received(client, handle)]


async def _replayed(twilio: Twilio, result: str) -> float:
    return await metric(twilio.http, "signedfor_webhook_replayed_callbacks_total", result=result)


@pytest.mark.integration
@pytest.mark.usefixtures("short_poll_interval")
async def test_messages_with_an_unknown_outcome_receive_recent_callbacks(
    client: Client, sqlite_engine: Engine
) -> None:
    """They receive earlier and later callbacks once; other messages do not."""
    ids = {stage: new_message_id() for stage in (Stage.RESOLVING, Stage.AWAITING_RECEIPT)}
    async with _running(client, sqlite_engine) as twilio:
        for message_id in ids.values():
            await twilio.status(message_id, "sent")
        unresolved, waiting = [
            await message_at(client, stage, message_id) for stage, message_id in ids.items()
        ]
        await _until(lambda: _received(client, unresolved))

        # When the next message has received its callback, Temporal has been queried again.
        next_id = new_message_id()
        following = await message_at(client, Stage.RESOLVING, next_id)
        await twilio.status(next_id, "queued", MessageSid=_OTHER_SID)
        await _until(lambda: _received(client, following))

        async def both_are_counted() -> bool:
            return await _replayed(twilio, "message") == len((unresolved, following))

        await _until(both_are_counted)
        none = await _replayed(twilio, "none")
        remaining = await metric(twilio.http, "signedfor_webhook_recent_callbacks")

    assert [(SID, "sent")] == await _received(client, unresolved)
    assert [(_OTHER_SID, "queued")] == await _received(client, following)
    assert [] == await _received(client, waiting)
    assert (0, 1) == (none, remaining)


@pytest.mark.integration
@pytest.mark.usefixtures("short_poll_interval")
async def test_recent_callbacks_are_replayed_after_an_outage_of_temporal(
    stopped_server: TemporalServer, sqlite_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """Without Temporal they are acknowledged and kept."""
    client = await Client.connect(stopped_server.address, data_converter=data_converter, lazy=True)
    message_id = new_message_id()

    async def failure_is_logged() -> bool:
        return "Temporal could not list the messages with an unknown outcome" in caplog.text

    async with _running(client, sqlite_engine) as twilio:
        responses = [await twilio.status(message_id, "queued")]
        await _until(failure_is_logged)
        responses.append(await twilio.status(message_id, "sent"))
        await asyncio.to_thread(stopped_server.start)
        another = await Client.connect(stopped_server.address, data_converter=data_converter)
        message = await message_at(another, Stage.RESOLVING, message_id)
        await _until(lambda: _received(another, message))

    assert [204, 204] == [response.status_code for response in responses]
    assert [(SID, "sent")] == await _received(another, message)
    assert PERSON not in caplog.text
    assert message_id not in caplog.text


@pytest.mark.integration
@pytest.mark.usefixtures("short_poll_interval")
@pytest.mark.parametrize(
    ("error", "attempts", "results"),
    [
        (Unavailable("Temporal did not answer in time"), 2, {"rejected": 0, "message": 1}),
        (Rejected("Temporal answered INVALID_ARGUMENT"), 1, {"rejected": 1, "message": 0}),
        (ValueError("unexpected"), 2, {"rejected": 0, "message": 1}),
    ],
    ids=["no response", "rejected", "unexpected error"],
)
async def test_a_replay_without_response_is_retried(
    client: Client,
    sqlite_engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    *,
    error: Rejected | Unavailable | ValueError,
    attempts: int,
    results: dict[str, int],
) -> None:
    """A callback that Temporal rejects is dropped."""
    message_id = new_message_id()
    sent: list[str] = []

    async def send(
        _: StatusSignals, sent_id: str, _status: DeliveryStatus
    ) -> Signaled | Rejected | Unavailable:
        sent.append(sent_id)
        if len(sent) > 1:
            return Signaled(SignalTarget.MESSAGE)
        if isinstance(error, ValueError):
            raise error
        return error

    monkeypatch.setattr(StatusSignals, "send", send)
    await message_at(client, Stage.RESOLVING, message_id)
    async with _running(client, sqlite_engine) as twilio:
        await twilio.status(message_id, "sent")

        async def is_dropped() -> bool:
            return not await metric(twilio.http, "signedfor_webhook_recent_callbacks")

        await _until(is_dropped)
        counts = {result: await _replayed(twilio, result) for result in results}

    assert [message_id] * attempts == sent
    assert results == counts
