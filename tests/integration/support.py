"""What the integration tests share: a caller that sends messages and inspects them."""

import asyncio
import json
import os
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowHandle

from devtools.sandbox.client import AcceptedRow, CallbackRow, RefusedRow, Step
from devtools.stack.local import LocalStack
from signedfor.client import Client as SignedforClient
from signedfor.client import Message
from signedfor.contract import (
    DETAILS_QUERY,
    CancelResult,
    DeadLetterDetails,
    DeadLetterReport,
    MessageReport,
    Progress,
    dead_letter_workflow_id,
)
from signedfor.store.database import open_engine
from signedfor.store.inbound import InboundMessages
from tests.fixtures.stack import TEXT
from tests.fixtures.temporal import binary

T = TypeVar("T")

SERVICE = "MG" + "5a" * 16
"""A Messaging Service of the sandbox."""
TIMEOUT_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A message that was sent."""

    message_id: str
    to: str
    stack: LocalStack
    client: Client

    @property
    def message(self) -> Message:
        """The message itself."""
        return SignedforClient(self.client).message(self.message_id)

    @property
    def handle(self) -> WorkflowHandle[Any, MessageReport]:
        """Its workflow."""
        return self.message.handle

    @property
    def dead_letter_handle(self) -> WorkflowHandle[Any, DeadLetterReport]:
        """Its dead letter's workflow."""
        return self.client.get_workflow_handle(
            dead_letter_workflow_id(self.message_id), result_type=DeadLetterReport
        )

    async def report(self) -> MessageReport:
        """Its report, once it has ended."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await self.message.report()

    async def progress(self) -> Progress:
        """Its progress."""
        return await self.message.progress()

    async def reaches(self, status: str) -> Progress:
        """Its progress once it has reached this stage or outcome."""

        async def reached() -> Progress | None:
            progress = await self.progress()
            return progress if progress.status == status else None

        return await until(reached, f"a message to be {status}")

    async def dead_letter(self) -> DeadLetterDetails:
        """Its dead letter."""
        view: DeadLetterDetails = await self.dead_letter_handle.query(
            DETAILS_QUERY, result_type=DeadLetterDetails
        )
        return view

    async def cancel(self) -> CancelResult:
        """Cancel it."""
        return await self.message.cancel()

    async def events(self) -> list[HistoryEvent]:
        """Its history so far."""
        return list((await self.handle.fetch_history()).events)

    def accepted(self) -> list[AcceptedRow]:
        """What Twilio has accepted for its recipient."""
        return self.stack.sandbox.ledger(to=self.to)["accepted"]

    def refused(self) -> list[RefusedRow]:
        """What Twilio has refused for its recipient."""
        return self.stack.sandbox.ledger(to=self.to)["refused"]

    def callbacks(self, status: str | None = None) -> list[CallbackRow]:
        """The callbacks posted for its recipient."""
        rows = self.stack.sandbox.ledger(to=self.to)["callbacks"]
        return [row for row in rows if status in {None, row["status"]}]


@dataclass(frozen=True, kw_only=True)
class Caller:
    """A service that sends messages."""

    stack: LocalStack
    client: Client

    async def send(
        self,
        to: str,
        *steps: Step,
        then: Step | None = None,
        message_id: str | None = None,
        **fields: Any,
    ) -> Sent:
        """Send a message; Twilio's responses for this recipient are `steps`, then `then`.

        `fields` are those of the contract, with `sender` for `from`.
        """
        if steps or then:
            self.stack.sandbox.script(to, steps, then=then)
        if "sender" in fields:
            fields["from"] = fields.pop("sender")
        message = await SignedforClient(self.client).send(
            {"to": to, "body": TEXT, **fields}, message_id=message_id or new_id()
        )
        return Sent(message_id=message.message_id, to=to, stack=self.stack, client=self.client)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A command that has ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        """Its output, which must be JSON and nothing else."""
        return json.loads(self.stdout)


def new_id() -> str:
    """A message id that no other test uses."""
    return f"t-{uuid.uuid4()}"


async def until(condition: Callable[[], Awaitable[T | None]], what: str) -> T:
    """The first true result of `condition`; fails, naming `what`, if there is none in time."""
    give_up_at = time.monotonic() + TIMEOUT_SECONDS
    while True:
        found = await condition()
        if found:
            return found
        assert time.monotonic() < give_up_at, f"waited too long for {what}"
        await asyncio.sleep(0.05)


async def until_true(condition: Callable[[], bool], what: str) -> None:
    """Return when `condition` holds; fails, naming `what`, if that takes too long."""

    async def ask() -> bool:
        return condition()

    await until(ask, what)


def undispatched(stack: LocalStack) -> list[str]:
    """The SIDs of the inbound messages for which the service's workflow is not started yet."""
    engine = open_engine(stack.settings["DATABASE_URL"])
    try:
        waiting = InboundMessages(engine).list_(undispatched_only=True)
        return [each.message_sid for each in waiting]
    finally:
        engine.dispose()


async def temporal(stack: LocalStack, *arguments: str) -> Ended:
    """Run Temporal's own command line."""
    return await _run([str(binary("temporal")), *arguments, "--address", stack.temporal.address])


async def signedfor(stack: LocalStack, *arguments: str, **settings: str) -> Ended:
    """Run our command line as a process of its own, with these settings besides the stack's."""
    return await _run(
        [sys.executable, "-m", "starter", "--env-file", os.devnull, *arguments],
        **(stack.settings | settings),
    )


def payload_settings(stack: LocalStack) -> dict[str, str]:
    """The variables with which another process reads and writes the stack's payloads."""
    return {name: value for name, value in stack.settings.items() if name.startswith("PAYLOAD_")}


async def start_by_command(
    stack: LocalStack, workflow_id: str, *inputs: str, options: Sequence[str] = ()
) -> Ended:
    """Start a message with `temporal workflow start`; `inputs` are JSON documents."""
    flags = [argument for each in inputs for argument in ("--input", each)]
    return await temporal(
        stack,
        *("workflow", "start", "--type", "SendMessage", "--task-queue", "messages"),
        *("--workflow-id", workflow_id, *flags, *options),
    )


def events_of_type(events: Sequence[HistoryEvent], kind: EventType.ValueType) -> list[HistoryEvent]:
    """The events of this type."""
    return [event for event in events if event.event_type == kind]


async def _run(command: Sequence[str], **environment: str) -> Ended:
    process = await asyncio.create_subprocess_exec(
        *command,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    stdout, stderr = await process.communicate()
    return Ended(exit_code=process.returncode or 0, stdout=stdout.decode(), stderr=stderr.decode())
