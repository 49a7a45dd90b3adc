"""An inbound message starts the service's workflow once, whatever is away when it comes."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import select
from temporalio import workflow
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import Worker

from devtools.sandbox.magic import GOOD_SENDER
from devtools.stack.local import LocalStack
from signedfor.contract import InboundMessage, inbound_workflow_id
from signedfor.store.database import open_engine
from signedfor.store.tables import inbound_messages
from tests.faults.support import database_locked
from tests.fixtures.stack import TEXT, NewNumber, silent_stack
from tests.integration.support import undispatched, until, until_true

pytestmark = pytest.mark.integration

_QUEUE = "replies"


@workflow.defn(name="AnswerReply", sandboxed=False)
class AnswerReply:
    """The workflow of a service: the text that it received is its result."""

    @workflow.run
    async def run(self, message: InboundMessage) -> str:
        """Return the text."""
        return message.text


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service with a worker of its own, beside a stack that hands inbound messages to it."""

    stack: LocalStack
    client: Client
    sids: list[str] = field(default_factory=list)

    def receive(self, person: str, body: str = TEXT) -> None:
        """A person writes."""
        self.sids.append(self.stack.sandbox.inbound(person, GOOD_SENDER, body)["sid"])

    async def runs(self) -> Counter[str]:
        """How often the workflow was run for each message that it was run for."""
        listed = self.client.list_workflows("WorkflowType = 'AnswerReply'")
        return Counter([each.id async for each in listed])

    async def answers_all_once(self) -> None:
        """Return when the workflow has ended for each message; fail if it ran twice for any."""
        for sid in self.sids:
            handle = self.client.get_workflow_handle(inbound_workflow_id(sid), result_type=str)

            async def ended() -> bool:
                try:
                    return bool(await handle.result() == TEXT)  # noqa: B023 - called in this turn only
                except RPCError:
                    return False  # not started yet

            await until(ended, "the service's workflow to end")
        await until_true(lambda: not undispatched(self.stack), "the outbox to be empty")

        async def listed() -> bool:
            return await self.runs() == Counter(map(inbound_workflow_id, self.sids))

        await until(listed, "one run for each message")


@pytest.fixture
def running_stack(tmp_path: Path) -> Iterator[LocalStack]:
    """A stack that has a workflow to start for each inbound message."""
    with silent_stack(
        tmp_path, INBOUND_WORKFLOW="AnswerReply", INBOUND_TASK_QUEUE=_QUEUE
    ) as running:
        yield running


@pytest.fixture
async def service(running_stack: LocalStack) -> AsyncIterator[Service]:
    """The service, whose worker runs all the time."""
    client = await running_stack.client()
    async with _worker(client):
        yield Service(stack=running_stack, client=client)


@asynccontextmanager
async def _worker(client: Client) -> AsyncIterator[None]:
    async with Worker(client, task_queue=_QUEUE, workflows=[AnswerReply]):
        yield


@pytest.mark.timeout(240)
async def test_everything_is_away_once(service: Service, new_number: NewNumber) -> None:
    """Temporal, the database, and the webhook, one after the other; none of ten is lost."""
    stack = service.stack
    service.receive(new_number())
    await service.answers_all_once()

    await asyncio.to_thread(stack.temporal.kill)
    for _ in range(3):
        await asyncio.to_thread(service.receive, new_number())
    assert 3 == len(undispatched(stack))
    await asyncio.to_thread(stack.temporal.start)

    with database_locked(stack):
        for _ in range(3):
            await asyncio.to_thread(service.receive, new_number())

    stack.webhook.kill()
    for _ in range(3):
        service.receive(new_number())
    await asyncio.to_thread(stack.webhook.start)
    await asyncio.to_thread(stack.signedfor, "opt-outs", "catch-up", "--since", "1h")

    await service.answers_all_once()
    # Twilio's list has them all again.
    await asyncio.to_thread(stack.signedfor, "opt-outs", "catch-up", "--since", "1h")
    await service.answers_all_once()
    stack.check()


@pytest.mark.timeout(240)
async def test_the_webhook_is_killed_between_the_start_and_its_record(
    service: Service, new_number: NewNumber
) -> None:
    """The next process starts it again, which Temporal refuses, and records that it was started."""
    stack = service.stack
    os.kill(stack.temporal.pid, signal.SIGSTOP)
    try:
        await asyncio.to_thread(service.receive, new_number())
        # Leased, the webhook waits for Temporal; its next transaction is the record.
        await until_true(lambda: _is_leased(service), "the webhook to lease the message")
        with database_locked(stack):
            os.kill(stack.temporal.pid, signal.SIGCONT)
            handle = service.client.get_workflow_handle(inbound_workflow_id(service.sids[0]))

            async def started() -> bool:
                try:
                    return bool(await handle.describe())
                except RPCError:
                    return False

            await until(started, "the workflow to start")
            stack.webhook.kill()
    finally:
        os.kill(stack.temporal.pid, signal.SIGCONT)
    assert service.sids == undispatched(stack)
    await asyncio.to_thread(stack.webhook.start)

    await service.answers_all_once()


def _is_leased(service: Service) -> bool:
    """Whether its dispatch is due later than it was received."""
    engine = open_engine(service.stack.settings["DATABASE_URL"])
    try:
        with engine.connect() as connection:
            query = select(inbound_messages.c.dispatch_at, inbound_messages.c.received_at)
            [(due, received)] = connection.execute(query).all()
        return bool(due > received)
    finally:
        engine.dispose()
