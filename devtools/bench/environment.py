"""A benchmark's environment: a fresh stack with the product and the baseline next to each other.

Temporal's local server gets slower as its database grows. Each pair of rounds therefore has an
environment of its own, in which only the processes of the side being measured run.
"""

import asyncio
import itertools
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowHandle

from devtools.bench.baseline import BASELINE_MESSAGE, BASELINE_PREFIX, BASELINE_QUEUE, READY
from devtools.bench.figures import Rounds, Sample, mean
from devtools.bench.sizes import Sizes
from devtools.sandbox.magic import GOOD_SENDER
from devtools.stack.local import ROOT, LocalStack
from devtools.stack.ports import HOST, answers, free_ports
from devtools.stack.processes import Process, ProcessGroup, basic_environment, says
from signedfor.client import CONFLICT_POLICY, REUSE_POLICY
from signedfor.contract import MESSAGES_QUEUE, SEND_MESSAGE, message_workflow_id

PRODUCT, BASELINE = "ours", "baseline"
SETTINGS = {
    # A sender's rate is not a cost, and waiting for it would hide every other figure.
    "DEFAULT_SEGMENTS_PER_SECOND": "long_code=100000",
    "INBOUND_CATCH_UP_MINUTES": "0",
    # Between searches for a message whose worker was killed. Nothing else waits for it.
    "UNKNOWN_OUTCOME_WAIT_SECONDS": "5",
}
UNPACED = {"senders' rates": "too high to wait for a reservation"}
"""The condition of a benchmark whose messages do not wait for their sender's rate."""


def servers(sizes: Sizes) -> dict[str, str]:
    """The condition that says which servers were measured."""
    return {"servers": "embedded" if not sizes.on_cluster else "Temporal cluster on PostgreSQL"}


_NUMBERS = 10_000_000
_TIMEOUT_SECONDS = 300


@dataclass(frozen=True, kw_only=True)
class Side:
    """The product or the baseline: its workflow, and its own processes."""

    name: str
    workflow: str
    queue: str
    prefix: str
    workers: Sequence[Process]
    webhook: Process
    webhook_url: str


class Environment:
    """A stack with both sides, and the messages started on it."""

    def __init__(
        self, stack: LocalStack, client: Client, sides: Sequence[Side], *, plain: Client
    ) -> None:
        """`plain` is the baseline's client, which has no encryption."""
        self.stack = stack
        self.client = client
        self._plain = plain
        self._sides = {side.name: side for side in sides}
        self._name = uuid.uuid4().hex[:6]
        self._numbers = itertools.count()

    def side(self, name: str) -> Side:
        """The side of this name."""
        return self._sides[name]

    @contextmanager
    def running(self, side: Side, *, workers: int | None = None) -> Iterator[None]:
        """Run the side's processes for the block: its first `workers` workers, or all."""
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
        """The ids of the processes involved, by part of the system."""
        twilio = [self.stack.twilio] if self.stack.twilio else []
        return {
            "worker": [process.pid for process in side.workers if process.is_running],
            "server": [self.stack.temporal.pid],
            "PostgreSQL": [self.stack.postgres.pid] if self.stack.postgres else [],
            "webhook": [side.webhook.pid],
            "sandbox": [process.pid for process in twilio],
            "driver": [os.getpid()],
        }

    async def start(self, side: Side, **fields: Any) -> WorkflowHandle[Any, Any]:
        """Start one message, with its own id and recipient, by the rules of the contract."""
        number = next(self._numbers)
        client = self._plain if side.name == BASELINE else self.client
        return await client.start_workflow(
            side.workflow,
            {
                "to": f"+1555{2_000_000 + number % (_NUMBERS - 2_000_000)}",
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
def fresh_stack(
    *,
    workers: int = 1,
    settings: Mapping[str, str] = SETTINGS,
    with_ops: bool = False,
    on_cluster: bool = False,
    encrypted: bool = False,
) -> Iterator[tuple[LocalStack, ProcessGroup]]:
    """A fresh stack with neither worker nor webhook running, and a group for the baseline's.

    The baseline has no encryption, so only the benchmark of encryption has it.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalStack(
            Path(folder),
            settings=settings,
            workers=workers,
            with_ops=with_ops,
            only_servers=True,
            on_cluster=on_cluster,
            encrypted=encrypted,
        ) as stack,
        ProcessGroup() as group,
    ):
        yield stack, group


async def set_up(stack: LocalStack, group: ProcessGroup) -> Environment:
    """Set up the environment on a fresh stack."""
    ours = Side(
        name=PRODUCT,
        workflow=SEND_MESSAGE,
        queue=MESSAGES_QUEUE,
        prefix=message_workflow_id(""),
        workers=stack.workers,
        webhook=stack.webhook,
        webhook_url=stack.webhook_url,
    )
    return Environment(
        stack,
        await stack.client(),
        [ours, baseline_side(stack, group)],
        plain=await Client.connect(stack.temporal.address),
    )


def baseline_side(stack: LocalStack, group: ProcessGroup, *, workers: int = 1) -> Side:
    """The baseline's processes on this stack."""
    (port,) = free_ports(1)
    webhook_url = f"http://{HOST}:{port}"
    temporal = ("--temporal", stack.temporal.address)
    addresses = ("--sandbox-url", str(stack.sandbox_url), "--webhook-url", webhook_url)

    def process(
        part: str, *arguments: str, name: str | None = None, ready_at: str | None = None
    ) -> Process:
        name = name or part
        return Process(
            f"baseline {name}",
            [sys.executable, "-m", "devtools.bench.baseline", part, *temporal, *arguments],
            group=group,
            environment=basic_environment(stack.folder),
            folder=ROOT,
            log=stack.folder / "logs" / f"baseline-{name}.log",
            is_ready=answers(ready_at) if ready_at else says(READY),
        )

    return Side(
        name=BASELINE,
        workflow=BASELINE_MESSAGE,
        queue=BASELINE_QUEUE,
        prefix=BASELINE_PREFIX,
        workers=[
            process("worker", *addresses, name="worker" if number == 1 else f"worker-{number}")
            for number in range(1, workers + 1)
        ],
        webhook=process("webhook", "--port", str(port), ready_at=f"{webhook_url}/healthz"),
        webhook_url=webhook_url,
    )


class NotDelivered(Exception):
    """A message of a benchmark had another outcome: its figures would be meaningless."""


async def delivered(handle: WorkflowHandle[Any, Any]) -> None:
    """Return when the message is delivered.

    Raises:
        NotDelivered: it ended otherwise.
    """
    async with asyncio.timeout(_TIMEOUT_SECONDS):
        report = await handle.result()
    if report["outcome"] != "delivered":
        raise NotDelivered(f"{handle.id} ended as {report['outcome']}.")


async def in_flight(
    environment: Environment, side: Side, *, messages: int, concurrency: int
) -> float:
    """Send `messages` until they are delivered, `concurrency` at a time; the seconds it took."""
    left = iter(range(messages))

    async def send_next() -> None:
        for _ in left:
            await delivered(await environment.start(side))

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(min(concurrency, messages)):
            group.create_task(send_next())
    return time.perf_counter() - started


async def at_rate(count: int, rate: float, do: Callable[[int, float], Awaitable[None]]) -> float:
    """Call `do` with each number and the time it was due, without waiting for the others.

    The times are of `time.perf_counter`. Returns the seconds until all were done.
    """
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            due = started + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(_awaited(do(number, due)))
    return time.perf_counter() - started


async def _awaited(each: Awaitable[None]) -> None:
    await each


Measure = Callable[[Environment, str], Awaitable[Sample]]
"""One round of one side, by its name."""


async def alternate(
    sides: Sequence[str],
    measure: Measure,
    *,
    rounds: int,
    legs: int = 2,
    workers: int = 1,
    on_cluster: bool = False,
) -> Rounds:
    """Measure the sides in each of `rounds` fresh environments, in the order A, B, B, A.

    The server slows down as its database grows: in this order no side has the emptier one. With one
    leg the order is A, B, which disadvantages B.
    """
    samples: dict[str, list[Sample]] = {side: [] for side in sides}
    orders = list(itertools.permutations(sides))
    for number in range(rounds):
        order = orders[number % len(orders)]
        found: dict[str, list[Sample]] = {side: [] for side in sides}
        with fresh_stack(workers=workers, on_cluster=on_cluster) as (stack, group):
            environment = await set_up(stack, group)
            for side in (*order, *reversed(order))[: legs * len(order)]:
                found[side].append(await measure(environment, side))
                log_progress(f"round {number + 1} of {rounds}, {side}", found[side][-1])
        for side, legs_of_it in found.items():
            samples[side].append(mean(legs_of_it))
    return Rounds(samples)


def log_progress(what: str, sample: Sample) -> None:
    """Write figures to stderr while the benchmark runs."""
    figures = ", ".join(f"{name} {value:.4g}" for name, value in sample.items())
    sys.stderr.write(f"{what}: {figures}\n")
    sys.stderr.flush()
