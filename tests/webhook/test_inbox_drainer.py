"""The drainer: what it does with a receipt, whatever Temporal says."""

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
from tests.webhook.recorded import new_message_id, open_letter, open_message, received
from tests.webhook.support import SETTINGS, SID, Twilio, metric
from tests.workflows.fakes import binary
from webhook.app import PATIENT_TIMEOUT, create_app

pytestmark = pytest.mark.integration

BRIEF = timedelta(seconds=1)
"""The drainer gives a signal up after a second."""


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The drainer looks anew after a moment, not after three seconds."""
    monkeypatch.setattr("webhook.inbox.POLL_SECONDS", 0.3)


def _status(status: str, sid: str = SID) -> DeliveryStatus:
    return DeliveryStatus(message_sid=sid, message_status=status)


@asynccontextmanager
async def _running(
    client: Client, engine: Engine, patient_timeout: timedelta = PATIENT_TIMEOUT
) -> AsyncIterator[Twilio]:
    """A webhook whose drainer runs."""
    app = create_app(SETTINGS, client=client, engine=engine, patient_timeout=patient_timeout)
    twilio = Twilio.calling(app)
    async with app.router.lifespan_context(app), twilio.http:
        yield twilio


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is waited for is in a database
            await asyncio.sleep(0.05)


async def test_takes_each_receipt_where_it_belongs(client: Client, engine: Engine) -> None:
    """Left over from before: to the message, to its dead letter, or to nobody; then it is gone."""
    open_id, closed_id, unknown_id = (new_message_id() for _ in range(3))
    message, letter = await open_message(client, open_id), await open_letter(client, closed_id)
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
    assert ["undelivered"] == [each.message_status for each in await received(client, letter)]
    assert [2, 1, 1] == counts


async def test_later_receipts_queue_behind(client: Client, sqlite_engine: Engine) -> None:
    """While a message's receipt waits in the inbox, the next one waits behind it; others do not."""
    waiting_id, other_id = new_message_id(), new_message_id()
    message, other = [await open_message(client, each) for each in (waiting_id, other_id)]
    inbox = Inbox(sqlite_engine)
    inbox.put([(waiting_id, _status("undelivered"))])
    # Another process has it, for as long as this test takes.
    (taken,) = inbox.lease(limit=1, duration=timedelta(minutes=5))

    async with _running(client, sqlite_engine) as twilio:
        async with asyncio.timeout(30):
            while not await metric(  # noqa: ASYNC110 - metrics are there to be asked
                twilio.http, "signedfor_webhook_inbox_receipts"
            ):
                await asyncio.sleep(0.05)
        answers = [await twilio.status(each, "delivered") for each in (waiting_id, other_id)]

        assert [204, 204] == [answer.status_code for answer in answers]
        assert [] == await received(client, message)
        assert ["delivered"] == [each.message_status for each in await received(client, other)]
        assert 2 == inbox.backlog().count

        inbox.settle(released=[taken.id])
        await _until(lambda: inbox.backlog().count == 0)

    assert ["undelivered", "delivered"] == [
        each.message_status for each in await received(client, message)
    ]


class _StallsOnce(Interceptor):
    """Of all signals to one workflow the first gets no answer, and does not arrive."""

    def __init__(self, message_id: str) -> None:
        self.workflow_id = message_workflow_id(message_id)
        self.stalled = asyncio.Event()

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        """Put ourselves between the client and Temporal."""
        stalls = self

        class Stalling(OutboundInterceptor):
            async def signal_workflow(self, input: SignalWorkflowInput) -> None:
                if input.id == stalls.workflow_id and not stalls.stalled.is_set():
                    stalls.stalled.set()
                    await asyncio.Event().wait()  # until it is given up
                await super().signal_workflow(input)

        return Stalling(next)


async def test_nothing_passes_a_receipt_without_an_answer(
    temporal_server: TemporalServer, client: Client, engine: Engine
) -> None:
    """If Temporal has no answer for one receipt, those of its message wait; other messages do not.

    Neither those behind it in the inbox nor one that comes meanwhile may be applied before it.
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

    async with _running(stalling, engine, BRIEF) as twilio:
        await asyncio.wait_for(stalls.stalled.wait(), 30)
        answers = [await twilio.status(each, "read") for each in (slow_id, other_id)]
        await _until(lambda: inbox.backlog().count == 0)

    assert [204, 204] == [answer.status_code for answer in answers]
    assert ["undelivered", "delivered", "read"] == [
        each.message_status for each in await received(client, slow)
    ]
    assert ["read"] == [each.message_status for each in await received(client, other)]


async def test_a_receipt_that_cannot_be_applied_holds_up_nothing(
    sqlite_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """What Temporal refuses, and what is no receipt at all, stays; everything else is applied."""
    limited = ["--dynamic-config-value", "history.maximumSignalsPerExecution=1"]
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=binary("temporal"),
        dev_server_extra_args=limited,
        data_converter=data_converter,
    ) as server:
        full_id, spoilt_id, sound_id = ids = [new_message_id() for _ in range(3)]
        full, spoilt, sound = [await open_message(server.client, each) for each in ids]
        inbox = Inbox(sqlite_engine)
        inbox.put([(full_id, _status("sent")), (full_id, _status("delivered"))])
        inbox.put([(spoilt_id, _status("sent")), (spoilt_id, _status("delivered"))])
        inbox.put([(sound_id, _status("delivered"))])
        with transaction(sqlite_engine) as connection:
            connection.execute(
                text("UPDATE inbox SET message_sid = 'x' WHERE message_id = :id AND id = 3"),
                {"id": spoilt_id},
            )

        async with _running(server.client, sqlite_engine) as twilio:
            await _until(lambda: inbox.backlog().count == 2)
            refused = await metric(
                twilio.http, "signedfor_webhook_inbox_applied_total", result="rejected"
            )
            assert 204 == (await twilio.status(full_id, "read")).status_code
            await _until(lambda: inbox.backlog().count == 3)
        statuses = [
            [each.message_status for each in await received(server.client, handle)]
            for handle in (full, spoilt, sound)
        ]

    assert [["sent"], ["delivered"], ["delivered"]] == statuses
    assert 2 == refused
    assert "stays in the inbox" in caplog.text
    with transaction(sqlite_engine, read_only=True) as connection:
        postponed = connection.execute(
            text("SELECT count(*) FROM inbox WHERE failed_attempts > 0 AND due_at > received_at")
        ).scalar_one()
    assert 2 <= postponed


async def test_ends_at_once_when_idle(client_without_server: Client, sqlite_engine: Engine) -> None:
    """A webhook that stops does not wait for its next look."""
    async with asyncio.timeout(2):
        async with _running(client_without_server, sqlite_engine):
            await asyncio.sleep(0)


async def test_goes_on_after_a_defect(
    client: Client, sqlite_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """A defect in the draining is logged without data, and the draining goes on."""
    message_id = new_message_id()
    message = await open_message(client, message_id)
    with transaction(sqlite_engine) as connection:
        # A check that no lease passes: an IntegrityError, which is a defect and not an outage.
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
