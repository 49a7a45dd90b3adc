"""The same seeded faults against each contender, and what Twilio's ledger and the caller then say.

Each message has a fate that the seed decides: what the sandbox does with its first POST, with its
callbacks, and whether it is delivered. After these come two batches: one whose worker is killed in
the middle of its POSTs, one whose worker is frozen for longer than a POST may take. A batch is
started while the other worker is down, so that it is in the first one's hands; then that other one
starts and may take over.
"""

import asyncio
import os
import signal
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from random import Random

from devtools.bench.environment import log_progress
from devtools.bench.figures import Rounds, Sample
from devtools.bench.rivals.contenders import Answer, Caller, Contender, Message, Running
from devtools.bench.sizes import Sizes
from devtools.sandbox.client import AcceptedRow, LedgerView, Step
from devtools.stack.local import row_message_id
from devtools.stack.processes import Process

TWICE = "accepted by Twilio more than once"
NEVER = "never accepted by Twilio"
UNKNOWN = "outcome unknown to the caller"
UNTIL_KNOWN = "seconds until the outcome, median"


class Fault(StrEnum):
    """What happens to a message."""

    NONE = "no fault"
    ANSWER_LOST = "answer lost after acceptance"
    ERROR_AFTER = "503 after acceptance"
    ERROR_BEFORE = "503 without acceptance"
    CALLBACKS_LOST = "callbacks lost"
    CALLBACKS_DOUBLED = "callbacks doubled"
    CALLBACKS_REORDERED = "callbacks reordered"
    CALLBACKS_FIRST = "callbacks before the answer"
    KILLED = "worker killed in its POST"
    FROZEN = "worker frozen in its POST"


_DEALT = {
    Fault.NONE: 5,
    Fault.ANSWER_LOST: 4,
    Fault.ERROR_AFTER: 4,
    Fault.ERROR_BEFORE: 2,
    Fault.CALLBACKS_LOST: 2,
    Fault.CALLBACKS_DOUBLED: 2,
    Fault.CALLBACKS_REORDERED: 2,
    Fault.CALLBACKS_FIRST: 2,
}
"""Those of single messages, with their weights."""
_SLOW_POST_SECONDS = 3.0
"""Of a batch: time to kill the worker between Twilio's acceptance and its answer."""
_FIRST_POST: dict[Fault, Step] = {
    Fault.ANSWER_LOST: {"respond": "drop_after_accept"},
    Fault.ERROR_AFTER: {"respond": "error_after_accept", "code": 20503, "http_status": 503},
    Fault.ERROR_BEFORE: {"respond": "error", "code": 20503, "http_status": 503},
    Fault.KILLED: {"delay": _SLOW_POST_SECONDS},
    Fault.FROZEN: {"delay": _SLOW_POST_SECONDS},
}
_CALLBACKS: dict[Fault, Step] = {
    Fault.CALLBACKS_LOST: {"lost": True},
    Fault.CALLBACKS_DOUBLED: {"double": 2},
    Fault.CALLBACKS_REORDERED: {"reorder": True},
    Fault.CALLBACKS_FIRST: {"before_response": True},
}
_UNDELIVERED = 0.15
"""The share of messages that Twilio accepts and the carrier filters."""
_CARRIER_FILTERED = 30007
_ACCEPTED_WITHIN = 60.0


@dataclass(frozen=True, kw_only=True)
class Job:
    """A message, its fault, and the status it ends with if it is accepted."""

    message: Message
    fault: Fault
    final: str

    @property
    def step(self) -> Step:
        """What the sandbox does with its first POST."""
        return {**self.later_step, **_FIRST_POST.get(self.fault, {})}

    @property
    def later_step(self) -> Step:
        """What the sandbox does with another POST of the same message."""
        ending = {"final": self.final}
        code = {"error_code": _CARRIER_FILTERED} if self.final == "undelivered" else {}
        return {**ending, **code, "callbacks": _CALLBACKS.get(self.fault, {})}


def jobs(seed: int, sizes: Sizes) -> list[Job]:
    """All messages, in their order; the same for each contender."""
    chance = Random(f"{seed}:rivals")  # noqa: S311 - seeded chance, not a secret
    single = sizes.fault_messages - 2 * sizes.fault_batch
    dealt = chance.choices(list(_DEALT), weights=list(_DEALT.values()), k=single)
    faults = [*dealt, *[Fault.KILLED] * sizes.fault_batch, *[Fault.FROZEN] * sizes.fault_batch]
    return [
        Job(
            message=Message(id=f"fault-{number}", to=f"+1555{3_000_000 + number}"),
            fault=fault,
            final="undelivered" if chance.random() < _UNDELIVERED else "delivered",
        )
        for number, fault in enumerate(faults)
    ]


async def measure(contenders: Sequence[Contender], sizes: Sizes, *, seed: int) -> Rounds:
    """Run all contenders side by side: what is counted does not depend on their speed."""
    every = jobs(seed, sizes)
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        running = {
            contender.name: opened.enter_context(
                contender.run(folder / str(number), contender.max_workers)
            )
            for number, contender in enumerate(contenders)
        }
        async with asyncio.TaskGroup() as group:
            tasks = {
                name: group.create_task(_inject(each, every, sizes))
                for name, each in running.items()
            }
        samples = {name: task.result() for name, task in tasks.items()}
    for name, sample in samples.items():
        log_progress(f"faults, {name}", sample)
    return Rounds({name: [sample] for name, sample in samples.items()})


async def _inject(running: Running, every: Sequence[Job], sizes: Sizes) -> Sample:
    for job in every:
        await asyncio.to_thread(
            running.sandbox.script, job.message.to, [job.step], then=job.later_step
        )
    async with running.caller() as caller:
        sending = _Sending(caller)
        for job in every:
            if job.fault not in {Fault.KILLED, Fault.FROZEN}:
                sending.start(job)
                await asyncio.sleep(1 / sizes.fault_rate)
        # So that a kill is the fault of its own batch only.
        await sending.all_settled(within=sizes.settle_seconds, but=Fault.CALLBACKS_LOST)
        first, *others = running.workers
        await _in_their_posts(running, sending, [job for job in every if job.fault is Fault.KILLED])
        await asyncio.to_thread(first.kill)
        await _start([*others, first])
        await sending.all_settled(within=sizes.settle_seconds, but=Fault.CALLBACKS_LOST)
        await _in_their_posts(running, sending, [job for job in every if job.fault is Fault.FROZEN])
        with _frozen(first):
            since = time.monotonic()
            await _start(others)
            await asyncio.sleep(sizes.freeze_seconds - (time.monotonic() - since))
        await sending.all_settled(within=sizes.settle_seconds)
        ledger = await asyncio.to_thread(running.sandbox.ledger)
        answers = sending.answers()
        outcomes = {message_id: answer.outcome for message_id, answer in answers.items()}
        return {**count(every, ledger, outcomes), **_seconds(every, answers)}


class _Sending:
    """The messages that the caller has sent."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._running: dict[str, tuple[Fault, asyncio.Task[Answer]]] = {}

    def start(self, job: Job) -> None:
        """Send one; does not wait."""
        message = job.message
        task = asyncio.create_task(self._caller.send(message))
        self._running[message.id] = job.fault, task

    async def all_settled(self, *, within: float, but: Fault | None = None) -> None:
        """Wait until each, but those with this fault, has an outcome, or for so many seconds."""
        if tasks := [task for fault, task in self._running.values() if fault is not but]:
            await asyncio.wait(tasks, timeout=within)

    def answers(self) -> dict[str, Answer]:
        """What the caller knows by now, by message id."""
        return {
            message_id: task.result()
            for message_id, (_, task) in self._running.items()
            if task.done()
        }


async def _in_their_posts(running: Running, sending: _Sending, batch: Sequence[Job]) -> None:
    """Start the batch on the first worker alone; return when Twilio has accepted it, unanswered."""
    for worker in running.workers[1:]:
        await asyncio.to_thread(worker.stop)
    since = time.time()
    for job in batch:
        sending.start(job)
    ids = {job.message.id for job in batch}
    while time.time() < since + _ACCEPTED_WITHIN:
        ledger = await asyncio.to_thread(running.sandbox.ledger, since=since)
        rows = [row for row in ledger["accepted"] if row_message_id(row) in ids]
        # The first ones are answered soon; a contender may not have started the rest yet.
        if len(rows) == len(batch) or (
            rows and time.time() > rows[0]["created"] + _SLOW_POST_SECONDS / 2
        ):
            return
        await asyncio.sleep(0.05)


@contextmanager
def _frozen(worker: Process) -> Iterator[None]:
    """Freeze the worker, and continue it after the block."""
    pid = worker.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def _start(workers: Sequence[Process]) -> None:
    """Start them, as an init system does after a crash."""
    for worker in workers:
        await asyncio.to_thread(worker.start)


def count(every: Sequence[Job], ledger: LedgerView, outcomes: Mapping[str, str]) -> Sample:
    """How many messages went wrong, in all and by fault."""
    accepted: dict[str, list[AcceptedRow]] = {job.message.id: [] for job in every}
    for row in ledger["accepted"]:
        accepted[row_message_id(row) or ""].append(row)
    found: Counter[tuple[str, Fault]] = Counter()
    for job in every:
        rows = accepted[job.message.id]
        found[TWICE, job.fault] += len(rows) > 1
        found[NEVER, job.fault] += not rows
        found[UNKNOWN, job.fault] += not _is_known(outcomes.get(job.message.id), rows)
    sample: dict[str, float] = {}
    for what in (TWICE, NEVER, UNKNOWN):
        sample[what] = sum(found[what, fault] for fault in Fault)
        for fault in Fault:
            sample[f"{what}: {fault}"] = found[what, fault]
    return sample


def _seconds(every: Sequence[Job], answers: Mapping[str, Answer]) -> Sample:
    """The median time to an outcome after some faults, of the messages that have one."""
    figures: dict[str, float] = {}
    for fault in (Fault.NONE, Fault.ANSWER_LOST, Fault.ERROR_BEFORE, Fault.KILLED):
        ids = [job.message.id for job in every if job.fault is fault]
        times = [answers[each].known_at - answers[each].at for each in ids if each in answers]
        if times:
            figures[f"{UNTIL_KNOWN}: {fault}"] = statistics.median(times)
    return figures


def _is_known(outcome: str | None, rows: Sequence[AcceptedRow]) -> bool:
    """Whether what the caller knows is what Twilio says."""
    return outcome in {row["status"] for row in rows} if rows else outcome == "failed"
