"""What callbacks said that no workflow heard of: kept for a while, told to those it helps."""

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
from tests.webhook.recorded import Handle, message_at, new_message_id, received
from tests.webhook.support import PERSON, SETTINGS, SID, Twilio, metric
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
    """The time, moved by hand."""

    now: float = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def _status(status: str = "sent", sid: str = SID) -> DeliveryStatus:
    return DeliveryStatus(message_sid=sid, message_status=status)


def _of(recent: RecentCallbacks, *message_ids: str) -> list[tuple[str, str, str]]:
    return [
        (message_id, status.message_sid, status.message_status)
        for message_id, status in recent.of({message_workflow_id(each) for each in message_ids})
    ]


def test_remembers_the_last_word_of_each_sid() -> None:
    """A message may have several of Twilio's; of each the last word counts, and only it."""
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


def test_forgets_what_is_old() -> None:
    """What was said longer ago is gone, however little there is."""
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


def test_forgets_the_oldest_of_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many callbacks come, what is recent stays within its bound."""
    monkeypatch.setattr("webhook.recent_callbacks.MAX_CALLBACKS", 3)
    recent = RecentCallbacks()

    for number in range(5):
        recent.add(f"order-{number}", _status())

    assert ["order-2", "order-3", "order-4"] == [
        message_id for message_id, *_ in _of(recent, *(f"order-{n}" for n in range(5)))
    ]


@pytest.fixture
def asks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The question comes after a moment, not after seconds; its answer has a message a page."""
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
        while not await condition():  # noqa: ASYNC110 - a server is asked
            await asyncio.sleep(0.05)


async def _heard(client: Client, handle: Handle) -> list[tuple[str, str]]:
    return [(each.message_sid, each.message_status) for each in await received(client, handle)]


async def _handed_on(twilio: Twilio, result: str) -> float:
    return await metric(twilio.http, "signedfor_webhook_replayed_callbacks_total", result=result)


@pytest.mark.integration
@pytest.mark.usefixtures("asks_often")
async def test_tells_messages_of_unknown_fate(client: Client, sqlite_engine: Engine) -> None:
    """They hear, once, what was said before and what is said now; no other message does."""
    ids = {stage: new_message_id() for stage in (Stage.RESOLVING, Stage.AWAITING_RECEIPT)}
    async with _running(client, sqlite_engine) as twilio:
        for message_id in ids.values():
            await twilio.status(message_id, "sent")
        unresolved, waiting = [
            await message_at(client, stage, message_id) for stage, message_id in ids.items()
        ]
        await _until(lambda: _heard(client, unresolved))

        # When the next one has heard, the question has been asked anew.
        next_id = new_message_id()
        following = await message_at(client, Stage.RESOLVING, next_id)
        await twilio.status(next_id, "queued", MessageSid=_OTHER_SID)
        await _until(lambda: _heard(client, following))
        counts = [await _handed_on(twilio, result) for result in ("message", "none")]
        left = await metric(twilio.http, "signedfor_webhook_recent_callbacks")

    assert [(SID, "sent")] == await _heard(client, unresolved)
    assert [(_OTHER_SID, "queued")] == await _heard(client, following)
    assert [] == await _heard(client, waiting)
    assert [2, 0] == counts
    assert 1 == left


@pytest.mark.integration
@pytest.mark.usefixtures("asks_often")
async def test_temporal_may_be_away(
    stopped_server: TemporalServer, sqlite_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """Without Temporal callbacks are answered and recent; it hears of them when it is there."""
    client = await Client.connect(stopped_server.address, data_converter=data_converter, lazy=True)
    message_id = new_message_id()

    async def complained() -> bool:
        return "Temporal could not list the messages with an unknown outcome" in caplog.text

    async with _running(client, sqlite_engine) as twilio:
        answers = [await twilio.status(message_id, "queued")]
        await _until(complained)
        answers.append(await twilio.status(message_id, "sent"))
        await asyncio.to_thread(stopped_server.start)
        another = await Client.connect(stopped_server.address, data_converter=data_converter)
        message = await message_at(another, Stage.RESOLVING, message_id)
        await _until(lambda: _heard(another, message))

    assert [204, 204] == [answer.status_code for answer in answers]
    assert [(SID, "sent")] == await _heard(another, message)
    assert PERSON not in caplog.text
    assert message_id not in caplog.text


@pytest.mark.integration
@pytest.mark.usefixtures("asks_often")
@pytest.mark.parametrize(
    ("trouble", "tries", "results"),
    [
        (Unavailable("Temporal did not answer in time"), 2, {"rejected": 0, "message": 1}),
        (Rejected("Temporal answered INVALID_ARGUMENT"), 1, {"rejected": 1, "message": 0}),
        (ValueError("a defect"), 2, {"rejected": 0, "message": 1}),
    ],
    ids=["no answer", "rejected", "defect"],
)
async def test_tries_again_what_got_no_answer(
    client: Client,
    sqlite_engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    *,
    trouble: Rejected | Unavailable | ValueError,
    tries: int,
    results: dict[str, int],
) -> None:
    """What Temporal had no answer for is told again; what it refuses is told no more."""
    message_id = new_message_id()
    told: list[str] = []

    async def send(
        _: StatusSignals, told_id: str, _status: DeliveryStatus
    ) -> Signaled | Rejected | Unavailable:
        told.append(told_id)
        if len(told) > 1:
            return Signaled(SignalTarget.MESSAGE)
        if isinstance(trouble, ValueError):
            raise trouble
        return trouble

    monkeypatch.setattr(StatusSignals, "send", send)
    await message_at(client, Stage.RESOLVING, message_id)
    async with _running(client, sqlite_engine) as twilio:
        await twilio.status(message_id, "sent")

        async def forgotten() -> bool:
            return not await metric(twilio.http, "signedfor_webhook_recent_callbacks")

        await _until(forgotten)
        counts = {result: await _handed_on(twilio, result) for result in results}

    assert [message_id] * tries == told
    assert results == counts
