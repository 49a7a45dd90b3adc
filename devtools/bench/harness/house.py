"""A house: a fresh Temporal server and sandbox, with ours and the floor beside one another.

Temporal's local server gets slower as its database grows, so each pair of rounds has a house of its
own, and in it only the processes of the side that is being measured run.
"""

import itertools
import os
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowHandle

from devtools.bench.floor.message import FLOOR_MESSAGE, FLOOR_PREFIX, FLOOR_QUEUE
from devtools.bench.floor.worker import READY
from devtools.sandbox.magic import GOOD_SENDER
from devtools.stack.local import LocalStack
from devtools.stack.parts import ROOT
from devtools.stack.ports import HOST, answers, free_ports
from devtools.stack.processes import Process, ProcessGroup, basic_environment, says
from signedfor.client import CONFLICT_POLICY, REUSE_POLICY
from signedfor.contract import MESSAGES_QUEUE, SEND_MESSAGE, message_workflow_id

OURS, FLOOR = "ours", "floor"
SETTINGS = {
    # The pace of a sender is a promise, not a cost: it would hide every other figure.
    "DEFAULT_RATES": "long_code=100000",
    "CATCH_UP_MINUTES": "0",
    # Between the looks for a message whose worker was killed. Nothing else waits for it.
    "UNKNOWN_WAIT_SECONDS": "5",
}
NO_WAIT = {"senders' rates": "too high to wait for a slot"}
"""The condition of a benchmark whose messages are not paced."""
_LONGEST_NUMBERS = 10_000_000


@dataclass(frozen=True, kw_only=True)
class Side:
    """Ours or the floor: its workflow, and the processes that are its own."""

    name: str
    workflow: str
    queue: str
    prefix: str
    workers: Sequence[Process]
    webhook: Process
    webhook_url: str


class House:
    """What a round is measured in; see `open_house`."""

    def __init__(self, stack: LocalStack, client: Client, sides: Sequence[Side]) -> None:
        self.stack = stack
        self.client = client
        self._sides = {side.name: side for side in sides}
        self._name = uuid.uuid4().hex[:6]
        self._numbers = itertools.count()

    def side(self, name: str) -> Side:
        """The side of this name."""
        return self._sides[name]

    @contextmanager
    def running(self, side: Side, *, workers: int | None = None) -> Iterator[None]:
        """The side's processes are up while the block runs; so many of its workers, or all."""
        processes = [*side.workers[:workers], side.webhook]
        try:
            for process in processes:
                process.start(wait=False)
            for process in processes:
                process.wait_until_ready()
            yield
        finally:
            for process in processes:
                process.ask_to_stop()
            for process in processes:
                process.stop()

    def parts(self, side: Side) -> dict[str, list[int]]:
        """The ids of the processes that now take part, by what they are."""
        twilio = [self.stack.twilio] if self.stack.twilio else []
        return {
            "worker": [process.pid for process in side.workers if process.is_running],
            "server": [self.stack.temporal.pid],
            "webhook": [side.webhook.pid],
            "sandbox": [process.pid for process in twilio],
            "driver": [os.getpid()],
        }

    async def hand_in(self, side: Side, **fields: Any) -> WorkflowHandle[Any, Any]:
        """Hand in one message, with an id and a recipient of its own, by the contract's rules."""
        number = next(self._numbers)
        return await self.client.start_workflow(
            side.workflow,
            {
                "to": f"+1555{2_000_000 + number % (_LONGEST_NUMBERS - 2_000_000)}",
                "from": GOOD_SENDER,
                "body": "Your parcel is at the door.",
                **fields,
            },
            id=f"{side.prefix}bench-{self._name}-{number}",
            task_queue=side.queue,
            id_conflict_policy=CONFLICT_POLICY,
            id_reuse_policy=REUSE_POLICY,
        )


@contextmanager
def open_stack(*, workers: int = 1) -> Iterator[tuple[LocalStack, ProcessGroup]]:
    """A fresh stack with neither worker nor webhook running, and a group for the floor's."""
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalStack(Path(folder), settings=SETTINGS, workers=workers) as stack,
        ProcessGroup() as group,
    ):
        ours = [*stack.workers, stack.webhook]
        for process in ours:
            process.ask_to_stop()
        for process in ours:
            process.stop()
        yield stack, group


async def furnish(stack: LocalStack, group: ProcessGroup) -> House:
    """The house on a fresh stack."""
    ours = Side(
        name=OURS,
        workflow=SEND_MESSAGE,
        queue=MESSAGES_QUEUE,
        prefix=message_workflow_id(""),
        workers=stack.workers,
        webhook=stack.webhook,
        webhook_url=stack.webhook_url,
    )
    return House(stack, await stack.client(), [ours, _floor(stack, group)])


def _floor(stack: LocalStack, group: ProcessGroup) -> Side:
    (port,) = free_ports(1)
    webhook_url = f"http://{HOST}:{port}"
    temporal = ("--temporal", stack.temporal.address)
    addresses = ("--sandbox-url", str(stack.sandbox_url), "--webhook-url", webhook_url)

    def process(name: str, *arguments: str, ready_at: str | None = None) -> Process:
        return Process(
            f"floor {name}",
            [sys.executable, "-m", f"devtools.bench.floor.{name}", *temporal, *arguments],
            group=group,
            environment=basic_environment(stack.folder),
            folder=ROOT,
            log=stack.folder / "logs" / f"floor-{name}.log",
            is_ready=answers(ready_at) if ready_at else says(READY),
        )

    return Side(
        name=FLOOR,
        workflow=FLOOR_MESSAGE,
        queue=FLOOR_QUEUE,
        prefix=FLOOR_PREFIX,
        workers=[process("worker", *addresses)],
        webhook=process("webhook", "--port", str(port), ready_at=f"{webhook_url}/healthz"),
        webhook_url=webhook_url,
    )
