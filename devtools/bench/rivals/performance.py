"""Messages a second, CPU a message, and the time to the POST, of each contender in turn."""

import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from devtools.bench.environment import log_progress
from devtools.bench.figures import Rounds, Sample, percentiles
from devtools.bench.rivals.contenders import Answer, Caller, Contender, Message, Running
from devtools.bench.sizes import Sizes
from devtools.stack.local import row_message_id

RATE = "messages/s"
CPU = "CPU, all its processes (ms/message)"
CALLER = "use of the caller (% of a core)"
SANDBOX = "use of the sandbox (% of a core)"
_TIMEOUT_SECONDS = 200
_IDLE_PER_SECOND = 5


class NotSettled(Exception):
    """A message was not delivered: the figures would be meaningless."""


async def measure(contenders: Sequence[Contender], sizes: Sizes) -> Rounds:
    """Measure each in every round; every other round in the reverse order.

    A round in which a message is not delivered in time has no figures; the report counts it.
    """
    samples: dict[str, list[Sample]] = {contender.name: [] for contender in contenders}
    for number in range(sizes.rounds):
        order = contenders if number % 2 == 0 else list(reversed(contenders))
        for contender in order:
            with (
                tempfile.TemporaryDirectory() as folder,
                contender.run(Path(folder) / "run", 1) as running,
            ):
                sample: Sample = {}
                try:
                    sample = await _measure_one(running, sizes)
                except* (TimeoutError, NotSettled) as error:
                    sys.stderr.write(f"{contender.name}: {error.exceptions[0]!r}\n")
            samples[contender.name].append(sample)
            log_progress(f"round {number + 1} of {sizes.rounds}, {contender.name}", sample)
    return Rounds(samples)


async def _measure_one(running: Running, sizes: Sizes) -> Sample:
    async with running.caller() as caller, asyncio.timeout(_TIMEOUT_SECONDS):
        await _in_flight(caller, "warm", sizes.warm_up, concurrency=sizes.concurrency)
        idle = await _idle_latencies(running, caller, sizes.rival_idle_messages)
        before, calling = running.cpu_seconds(), caller.cpu_seconds()
        started = time.perf_counter()
        await _in_flight(caller, "load", sizes.rival_messages, concurrency=sizes.rival_concurrency)
        seconds = time.perf_counter() - started
        used = {part: now - before[part] for part, now in running.cpu_seconds().items()}
        sandbox = used.pop("sandbox")
        each = 1000 / sizes.rival_messages
        return {
            RATE: sizes.rival_messages / seconds,
            CPU: sum(used.values()) * each,
            **{f"of which {part}": cpu * each for part, cpu in used.items()},
            **{f"start to POST, {name}": value for name, value in percentiles(idle).items()},
            # Near 100 these limit the messages a second, and not the contender.
            SANDBOX: 100 * sandbox / seconds,
            CALLER: 100 * (caller.cpu_seconds() - calling) / seconds,
        }


async def _in_flight(caller: Caller, name: str, messages: int, *, concurrency: int) -> None:
    left = iter(range(messages))

    async def send_next() -> None:
        for number in left:
            await _delivered(caller, _message(name, number))

    async with asyncio.TaskGroup() as group:
        for _ in range(min(concurrency, messages)):
            group.create_task(send_next())


async def _idle_latencies(running: Running, caller: Caller, count: int) -> list[float]:
    """Seconds from the caller's start to Twilio's receiving the POST, by the sandbox's ledger."""
    since = time.time()
    tasks: dict[str, asyncio.Task[Answer]] = {}
    for number in range(count):
        message = _message("idle", number)
        tasks[message.id] = asyncio.create_task(_delivered(caller, message))
        await asyncio.sleep(1 / _IDLE_PER_SECOND)
    started = {message_id: (await task).at for message_id, task in tasks.items()}
    ledger = await asyncio.to_thread(running.sandbox.ledger, since=since)
    posted = {row_message_id(row): row["created"] for row in ledger["accepted"]}
    return [posted[message_id] - at for message_id, at in started.items()]


async def _delivered(caller: Caller, message: Message) -> Answer:
    answer = await caller.send(message)
    if answer.outcome != "delivered":
        raise NotSettled(f"{message.id} ended as {answer.outcome}.")
    return answer


_NAMES = ("warm", "idle", "load")


def _message(name: str, number: int) -> Message:
    return Message(
        id=f"{name}-{number}", to=f"+1555{2_000_000 + 100_000 * _NAMES.index(name) + number}"
    )
