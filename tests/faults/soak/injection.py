"""Fault injection: kills, freezes and restarts the parts of a stack, on a seeded schedule."""

import asyncio
import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from random import Random
from typing import assert_never

import psycopg
from psycopg import sql

from devtools.stack.backups import copy_database, restore_database
from devtools.stack.local import LocalStack
from devtools.stack.processes import Process, ProcessDied, StackError
from devtools.stack.temporal_server import TemporalServer
from signedfor.retry import SEND_TIMEOUT
from signedfor.store.database import parse_url
from signedfor.store.tables import metadata
from tests.faults.soak.invariants import Period

_DATABASE = "database"
_LOCK_TIMEOUT = 60
"""Seconds to wait for the lock: a worker may be frozen while it holds it."""
_RESTART_SECONDS = 0.3


class FaultKind(StrEnum):
    """What is done to a part."""

    KILL = "kill -9"
    FREEZE = "SIGSTOP"
    RESTART = "SIGTERM"
    LOCK = "lock"
    """No other connection can write to the database."""
    RESTORE = "restore"
    """Its database is copied, and some seconds later replaced by the copy, after a kill -9.

    The workers are killed with it: they must not continue workflows that they have in memory and
    that it has forgotten.
    """


_TO_A_PROCESS = {FaultKind.KILL: 5, FaultKind.FREEZE: 3, FaultKind.RESTART: 2}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault of one part, which is then down, frozen or locked for `seconds`.

    Or, if it is restored, its backup is that old.
    """

    at: float
    part: str
    kind: FaultKind
    seconds: float


@dataclass(frozen=True, kw_only=True)
class FaultProfile:
    """How often a part fails, and for how long at most. All in seconds."""

    gap: float
    """The mean time from the end of one fault to the next."""
    down: float
    freeze: float = 0
    long_freeze: tuple[float, float] | None = None
    """About every fourth freeze lasts this long instead."""
    backup_age: tuple[float, float] = (0, 0)
    """If it is restored: how long before that the backup was taken."""
    kinds: Mapping[FaultKind, int] = field(default_factory=lambda: _TO_A_PROCESS)
    """The faults of this part, with their weights."""


WORKER = FaultProfile(gap=14, down=3, freeze=4, long_freeze=(21, 28))
"""Some freezes outlast every timeout of a send and of a workflow task: another worker takes over
before this one continues."""
WEBHOOK = FaultProfile(gap=12, down=4, freeze=6)
TEMPORAL = FaultProfile(
    gap=20,
    down=3,
    freeze=4,
    backup_age=(3, 12),
    kinds={**_TO_A_PROCESS, FaultKind.RESTORE: 2},
)
SANDBOX = FaultProfile(gap=18, down=3, freeze=6)
"""Shorter than a read timeout: the client still waits for what a frozen Twilio then accepts."""
POSTGRES = FaultProfile(gap=120, down=3, kinds={FaultKind.KILL: 2, FaultKind.RESTART: 1})
"""Temporal's databases and ours at once."""
DATABASE = FaultProfile(gap=16, down=12, kinds={FaultKind.LOCK: 1})
"""Some locks outlast the five seconds that our processes wait for one."""


def profiles_of(stack: LocalStack) -> dict[str, FaultProfile]:
    """The profiles for every part of a stack."""
    profiles = {process.name: WORKER for process in stack.workers}
    if stack.twilio is not None:
        profiles[stack.twilio.name] = SANDBOX
    temporal = TEMPORAL
    if stack.postgres is not None:
        profiles[stack.postgres.name] = POSTGRES
        # The backup that is restored is a copy of the embedded server's file.
        temporal = replace(TEMPORAL, kinds=_TO_A_PROCESS)
    others = {stack.webhook.name: WEBHOOK, stack.temporal.name: temporal, _DATABASE: DATABASE}
    return profiles | others


def schedule(seed: int, *, seconds: float, profiles: Mapping[str, FaultProfile]) -> list[Fault]:
    """The faults of one soak, in order of time; those of one part never overlap."""
    faults: list[Fault] = []
    for part, profile in profiles.items():
        chance = Random(f"{seed}:{part}")  # noqa: S311 - seeded chance, not a secret
        at = chance.uniform(1, profile.gap)
        while at < seconds:
            kind = chance.choices(list(profile.kinds), weights=list(profile.kinds.values()))[0]
            max_seconds = profile.freeze if kind is FaultKind.FREEZE else profile.down
            lasts = chance.uniform(0.2, max_seconds)
            if kind is FaultKind.FREEZE and profile.long_freeze and chance.random() < 1 / 4:
                lasts = chance.uniform(*profile.long_freeze)
            if kind is FaultKind.RESTORE:
                lasts = chance.uniform(*profile.backup_age)
            faults.append(Fault(at=at, part=part, kind=kind, seconds=lasts))
            at += lasts + chance.uniform(2, 2 * profile.gap - 2)
    return sorted(faults, key=lambda fault: fault.at)


class FaultInjector:
    """Injects a schedule of faults into a stack, and restarts every part."""

    def __init__(
        self,
        stack: LocalStack,
        *,
        on_sandbox_start: Callable[[], None],
        on_restore: Callable[[Period], object],
    ) -> None:
        """`on_sandbox_start` gives a new sandbox what it lost, such as its plan of faults.

        `on_restore` is called with the period that a restored Temporal server has forgotten.
        """
        self._stack = stack
        self._on_sandbox_start = on_sandbox_start
        self._on_restore = on_restore
        self._freezing_a_worker = asyncio.Lock()
        """One worker at a time: another must be able to take over."""
        self._in_use = {process.name: asyncio.Lock() for process in stack.processes}
        """Held during each fault of a part."""
        self.injected: Counter[str] = Counter()
        """How often each fault was injected into each part."""
        self.sandbox_frozen: list[Period] = []
        """The periods in which the sandbox was frozen."""
        self.worker_frozen: list[Period] = []
        """The periods in which a worker was frozen."""
        self.forgotten: list[Period] = []
        """The periods of which a restored Temporal server knows nothing."""
        self.unexpected_exits: list[str] = []
        """Parts that ended without a fault."""

    async def run(self, faults: Sequence[Fault]) -> None:
        """Inject the faults; return when the last part runs again."""
        started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for process in self._stack.processes:
                own = [fault for fault in faults if fault.part == process.name]
                group.create_task(self._run_process_faults(process, own, started))
            locks = [fault for fault in faults if fault.part == _DATABASE]
            group.create_task(self._run_locks(locks, started))

    async def _run_process_faults(
        self, process: Process, faults: Sequence[Fault], started: float
    ) -> None:
        for fault in faults:
            await asyncio.sleep(max(0.0, started + fault.at - time.monotonic()))
            async with self._in_use[process.name]:
                await self._restart_if_exited(process)
                self._count(fault)
                await self._inject(process, fault)
        async with self._in_use[process.name]:
            await self._restart_if_exited(process)

    async def _run_locks(self, faults: Sequence[Fault], started: float) -> None:
        url = self._stack.settings["DATABASE_URL"]
        for fault in faults:
            await asyncio.sleep(max(0.0, started + fault.at - time.monotonic()))
            self._count(fault)
            await asyncio.to_thread(lock, url, seconds=fault.seconds)

    def _count(self, fault: Fault) -> None:
        is_past_takeover = (
            fault.kind is FaultKind.FREEZE and fault.seconds > SEND_TIMEOUT.total_seconds()
        )
        suffix = " past takeover" if is_past_takeover else ""
        self.injected[f"{fault.part}: {fault.kind}{suffix}"] += 1

    async def _inject(self, process: Process, fault: Fault) -> None:
        match fault.kind:
            case FaultKind.FREEZE:
                if process in self._stack.workers:
                    async with self._freezing_a_worker:
                        self.worker_frozen.append(await _freeze(process, fault.seconds))
                else:
                    period = await _freeze(process, fault.seconds)
                    if process is self._stack.twilio:
                        self.sandbox_frozen.append(period)
            case FaultKind.KILL:
                await asyncio.to_thread(process.kill)
                await asyncio.sleep(fault.seconds)
                await self._start(process)
            case FaultKind.RESTART:
                await asyncio.to_thread(process.stop)
                await self._start(process)
            case FaultKind.RESTORE:
                if not isinstance(self._stack.temporal, TemporalServer):
                    raise TypeError("Only the embedded Temporal server can be restored.")
                await self._restore(self._stack.temporal, fault.seconds)
            case FaultKind.LOCK:
                raise ValueError(f"The {process.name} is not a database.")
            case _:
                assert_never(fault.kind)

    async def _restore(self, temporal: TemporalServer, age: float) -> None:
        backup = self._stack.folder / "temporal-backup.db"
        async with AsyncExitStack() as workers_in_use:
            for worker in self._stack.workers:
                await workers_in_use.enter_async_context(self._in_use[worker.name])
            since = datetime.now(UTC)
            await asyncio.to_thread(copy_database, temporal.database, backup)
            await asyncio.sleep(age)
            running = [each for each in self._stack.workers if each.is_running]
            for process in (*running, temporal):
                await asyncio.to_thread(process.kill)
            await asyncio.to_thread(restore_database, backup, temporal.database)
            period = (since, datetime.now(UTC))
            self.forgotten.append(period)
            for process in (temporal, *running):
                await self._start(process)
        self._on_restore(period)

    async def _restart_if_exited(self, process: Process) -> None:
        try:
            process.check()
        except ProcessDied as exited:
            self.unexpected_exits.append(str(exited))
            await self._start(process)

    async def _start(self, process: Process) -> None:
        """Retry as an init system does: it may need another part that is down now."""
        while True:
            try:
                await asyncio.to_thread(process.start)
            except StackError:
                await asyncio.to_thread(process.kill)
                await asyncio.sleep(_RESTART_SECONDS)
                continue
            break
        if process is self._stack.twilio:
            await asyncio.to_thread(self._on_sandbox_start)


@contextmanager
def frozen(process: Process) -> Iterator[None]:
    """Freeze the process, and continue it after the block."""
    pid = process.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def _freeze(process: Process, seconds: float) -> Period:
    since = datetime.now(UTC)
    with frozen(process):
        await asyncio.sleep(seconds)
    return since, datetime.now(UTC)


def lock(database_url: str, *, seconds: float) -> None:
    """Keep every other connection from writing to this database for so long; blocks."""
    if parse_url(database_url).get_backend_name() == "postgresql":
        _lock_postgresql(database_url, seconds=seconds)
        return
    path = parse_url(database_url).database or ""
    with closing(sqlite3.connect(path, timeout=_LOCK_TIMEOUT, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        time.sleep(seconds)


def _lock_postgresql(url: str, *, seconds: float) -> None:
    tables = sql.SQL(", ").join(sql.Identifier(name) for name in metadata.tables)
    # Without a database there is nothing to lock: it may be down, or be killed meanwhile.
    with suppress(psycopg.OperationalError), psycopg.connect(url) as connection:
        connection.execute(sql.SQL("LOCK TABLE {} IN EXCLUSIVE MODE").format(tables))
        time.sleep(seconds)
