"""The inbox drainer: delivering stored receipts to workflows."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from sqlalchemy import Engine, text
from temporalio.client import Client, Interceptor, OutboundInterceptor, SignalWorkflowInput
from temporalio.testing import WorkflowEnvironment

from devtools.stack.temporal_server import TemporalServer
from signedfor.contract import DeliveryStatus, message_workflow_id
from signedfor.payloads import data_converter
from signedfor.store.database import transaction
from signedfor.store.inbox import Inbox
from tests.fixtures.temporal import binary
from tests.webhook.support import SETTINGS, SID, Twilio, metric
from tests.webhook.workflows import new_message_id, open_dead_letter, open_message, received
from webhook.app import PATIENT_TIMEOUT, create_app

pytestmark = pytest.mark.integration

SHORT_TIMEOUT = timedelta(seconds=1)
"""The time after which the drainer stops waiting for a signal."""


@pytest.fixture(autouse=True)
def short_poll_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the drainer poll the inbox more often than every three seconds."""
    monkeypatch.setattr("webhook.inbox.POLL_SECONDS", 0.3)


def _status(status: str, sid: str = SID) -> DeliveryStatus:
    return DeliveryStatus(message_sid=sid, message_status=status)


@asynccontextmanager
async def _running(
    client: Client, engine: Engine, patient_timeout: timedelta = PATIENT_TIMEOUT
) -> AsyncIterator[Twilio]:
    """A webhook with a running drainer."""
    app = create_app(SETTINGS, client=client, engine=engine, patient_timeout=patient_timeout)
    twilio = Twilio.calling(app)
    async with app.router.lifespan_context(app), twilio.http:
        yield twilio


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - it asks a database
            await asyncio.sleep(0.05)


async def test_stored_receipts_are_signaled_to_message_or_dead_letter(
    client: Client, engine: Engine
) -> None:
    """Receipts for which there is no workflow are deleted too."""
    open_id, closed_id, unknown_id = (new_message_id() for _ in range(3))
    message = await open_message(client, open_id)
    dead_letter = await open_dead_letter(client, closed_id)
    inbox = Inbox(engine)
    inbox.put([(open_id, _status("sent")), (open_id, _status("delivered"))])
    inbox.put([(closed_id, _status("undelivered")), (unknown_id, _status("failed"))])

    async with _running(client, engine) as twilio:
        await _until(lambda: inbox.backlog().count == 0)
        counts = [
            await metric(twilio.http, "signedfor_webhook_inbox_applied_total", result=result)
            for result in ("message", "dead_letter", "none")
        ]

    assert ["sent", "delivered"] == [
        each.message_status for each in await received(client, message)
    ]
    assert ["undelivered"] == [each.message_status for each in await received(client, dead_letter)]
    assert [2, 1, 1] == counts


async def test_a_receipt_does_not_overtake_a_stored_one(
    client: Client, sqlite_engine: Engine
) -> None:
    """While a receipt is in the inbox, later ones of its message are stored too; others are not."""
    waiting_id, other_id = new_message_id(), new_message_id()
    message, other = [await open_message(client, each) for each in (waiting_id, other_id)]
    inbox = Inbox(sqlite_engine)
    inbox.put([(waiting_id, _status("undelivered"))])
    # As if another process had leased it.
    (leased,) = inbox.lease(limit=1, duration=timedelta(minutes=5))

    async with _running(client, sqlite_engine) as twilio:
        async with asyncio.timeout(30):
            while not await metric(  # noqa: ASYNC110 - it asks the webhook
                twilio.http, "signedfor_webhook_inbox_receipts"
            ):
                await asyncio.sleep(0.05)
        responses = [await twilio.status(each, "delivered") for each in (waiting_id, other_id)]

        assert [204, 204] == [response.status_code for response in responses]
        assert [] == await received(client, message)
        assert ["delivered"] == [each.message_status for each in await received(client, other)]
        assert 2 == inbox.backlog().count

        inbox.settle(released=[leased.id])
        await _until(lambda: inbox.backlog().count == 0)

    assert ["undelivered", "delivered"] == [
        each.message_status for each in await received(client, message)
    ]


class _StallsOnce(Interceptor):
    """The first signal to a workflow does not arrive and gets no response."""

    def __init__(self, message_id: str) -> None:
        self.workflow_id = message_workflow_id(message_id)
        self.stalled = asyncio.Event()

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        """See base class."""
        stalls = self

        class Stalling(OutboundInterceptor):
            async def signal_workflow(self, input: SignalWorkflowInput) -> None:
                if input.id == stalls.workflow_id and not stalls.stalled.is_set():
                    stalls.stalled.set()
                    await asyncio.Event().wait()  # until it is canceled
                await super().signal_workflow(input)

        return Stalling(next)


async def test_no_receipt_overtakes_one_without_a_response(
    temporal_server: TemporalServer, client: Client, engine: Engine
) -> None:
    """If a signal times out, later receipts of its message wait, stored ones as well as new ones.

    Receipts of other messages do not wait.
    """
    slow_id, other_id = new_message_id(), new_message_id()
    slow, other = [await open_message(client, each) for each in (slow_id, other_id)]
    inbox = Inbox(engine)
    inbox.put([(slow_id, _status("undelivered")), (slow_id, _status("delivered"))])
    stalls = _StallsOnce(slow_id)
    stalling = await Client.connect(
        temporal_server.address,
        namespace=client.namespace,
        data_converter=data_converter,
        interceptors=[stalls],
    )

    async with _running(stalling, engine, SHORT_TIMEOUT) as twilio:
        await asyncio.wait_for(stalls.stalled.wait(), 30)
        responses = [await twilio.status(each, "read") for each in (slow_id, other_id)]
        await _until(lambda: inbox.backlog().count == 0)

    assert [204, 204] == [response.status_code for response in responses]
    assert ["undelivered", "delivered", "read"] == [
        each.message_status for each in await received(client, slow)
    ]
    assert ["read"] == [each.message_status for each in await received(client, other)]


async def test_a_receipt_that_cannot_be_delivered_does_not_block_others(
    sqlite_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """Receipts that Temporal rejects and invalid rows stay in the inbox; others are delivered."""
    limited = ["--dynamic-config-value", "history.maximumSignalsPerExecution=1"]
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=binary("temporal"),
        dev_server_extra_args=limited,
        data_converter=data_converter,
    ) as server:
        full_id, invalid_id, valid_id = ids = [new_message_id() for _ in range(3)]
        full, invalid, valid = [await open_message(server.client, each) for each in ids]
        inbox = Inbox(sqlite_engine)
        inbox.put([(full_id, _status("sent")), (full_id, _status("delivered"))])
        inbox.put([(invalid_id, _status("sent")), (invalid_id, _status("delivered"))])
        inbox.put([(valid_id, _status("delivered"))])
        with transaction(sqlite_engine) as connection:
            connection.execute(
                text("UPDATE inbox SET message_sid = 'x' WHERE message_id = :id AND id = 3"),
                {"id": invalid_id},
            )

        async with _running(server.client, sqlite_engine) as twilio:
            await _until(lambda: inbox.backlog().count == 2)
            rejected = await metric(
                twilio.http, "signedfor_webhook_inbox_applied_total", result="rejected"
            )
            assert 204 == (await twilio.status(full_id, "read")).status_code
            await _until(lambda: inbox.backlog().count == 3)
        statuses = [
            [each.message_status for each in await received(server.client, handle)]
            for handle in (full, invalid, valid)
        ]

    assert [["sent"], ["delivered"], ["delivered"]] == statuses
    assert 2 == rejected
    assert "stays in the inbox" in caplog.text
    with transaction(sqlite_engine, read_only=True) as connection:
        postponed = connection.execute(
            text("SELECT count(*) FROM inbox WHERE failed_attempts > 0 AND due_at > received_at")
        ).scalar_one()
    assert 2 <= postponed


async def test_an_idle_drainer_stops_at_once(
    client_without_server: Client, sqlite_engine: Engine
) -> None:
    """It does not wait for the end of its poll interval."""
    async with asyncio.timeout(2):
        async with _running(client_without_server, sqlite_engine):
            await asyncio.sleep(0)


async def test_the_drainer_goes_on_after_an_unexpected_error(
    client: Client, sqlite_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """The error is logged without personal data."""
    message_id = new_message_id()
    message = await open_message(client, message_id)
    with transaction(sqlite_engine) as connection:
        # A check that refuses every lease: an IntegrityError, which is a bug and not an outage.
        connection.execute(
            text(
                "CREATE TRIGGER refuse BEFORE UPDATE ON inbox "
                "BEGIN SELECT RAISE(ABORT, 'refused'); END"
            )
        )
    Inbox(sqlite_engine).put([(message_id, _status("delivered"))])

    async with _running(client, sqlite_engine):
        await _until(lambda: "Unexpected IntegrityError" in caplog.text)
        with transaction(sqlite_engine) as connection:
            connection.execute(text("DROP TRIGGER refuse"))
        await _until(lambda: Inbox(sqlite_engine).backlog().count == 0)

    assert ["delivered"] == [each.message_status for each in await received(client, message)]
    assert message_id not in caplog.text
