"""Kills, freezes and restarts the parts of a running stack, by a schedule that a seed decides."""

import asyncio
import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from random import Random

from devtools.stack.local import LocalStack
from devtools.stack.processes import Process, ProcessDied, StackError
from signedfor.store.database import parse_url

_DATABASE = "database"
_FREE_WITHIN = 60
"""Seconds to wait for the lock: a worker may be frozen while it holds it."""


class Blow(StrEnum):
    """What is done to a part."""

    KILL = "kill -9"
    FREEZE = "SIGSTOP"
    RESTART = "SIGTERM"
    LOCK = "lock"
    """Nobody else can write to the database."""


_TO_A_PROCESS = {Blow.KILL: 5, Blow.FREEZE: 3, Blow.RESTART: 2}


@dataclass(frozen=True, kw_only=True)
class Strike:
    """One blow to one part: it stays down, frozen or locked for `seconds`."""

    at: float
    part: str
    blow: Blow
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Habits:
    """How often a part is struck, and for how long at most. All in seconds."""

    gap: float
    """The mean time from one strike's end to the next."""
    down: float
    freeze: float = 0
    long_freeze: tuple[float, float] | None = None
    """Every fourth freeze or so is this long instead."""
    blows: Mapping[Blow, int] = field(default_factory=lambda: _TO_A_PROCESS)
    """What is done to it, and how often in relation to the rest."""


WORKER = Habits(gap=14, down=3, freeze=4, long_freeze=(21, 28))
"""Some freezes outlast the deadline of a send, which the other worker then takes up."""
WEBHOOK = Habits(gap=12, down=4, freeze=6)
TEMPORAL = Habits(gap=20, down=3, freeze=4)
SANDBOX = Habits(gap=18, down=3, freeze=6)
"""Shorter than a read timeout: a request that a frozen Twilio still takes is taken in its time."""
DATABASE = Habits(gap=16, down=12, blows={Blow.LOCK: 1})
"""Some locks outlast the five seconds that our processes wait for one."""


def habits_of(stack: LocalStack) -> dict[str, Habits]:
    """The habits for every part of a stack; one worker is never frozen for long."""
    habits = {
        process.name: WORKER if number == 0 else Habits(gap=14, down=3, freeze=4)
        for number, process in enumerate(stack.workers)
    }
    if stack.twilio is not None:
        habits[stack.twilio.name] = SANDBOX
    others = {stack.webhook.name: WEBHOOK, stack.temporal.name: TEMPORAL, _DATABASE: DATABASE}
    return habits | others


def schedule(seed: int, *, seconds: float, habits: Mapping[str, Habits]) -> list[Strike]:
    """The strikes of one storm, in order of time; those of one part never overlap."""
    strikes: list[Strike] = []
    for part, habit in habits.items():
        chance = Random(f"{seed}:{part}")  # noqa: S311 - seeded chance, not a secret
        at = chance.uniform(1, habit.gap)
        while at < seconds:
            blow = chance.choices(list(habit.blows), weights=list(habit.blows.values()))[0]
            longest = habit.freeze if blow is Blow.FREEZE else habit.down
            lasts = chance.uniform(0.2, longest)
            if blow is Blow.FREEZE and habit.long_freeze and chance.random() < 1 / 4:
                lasts = chance.uniform(*habit.long_freeze)
            strikes.append(Strike(at=at, part=part, blow=blow, seconds=lasts))
            at += lasts + chance.uniform(2, 2 * habit.gap - 2)
    return sorted(strikes, key=lambda strike: strike.at)


class Chaos:
    """Carries out a schedule on a stack, and brings every part up again."""

    def __init__(self, stack: LocalStack, *, on_sandbox_up: Callable[[], None]) -> None:
        """`on_sandbox_up`: tells a fresh sandbox what it forgot, such as its plan of faults."""
        self._stack = stack
        self._on_sandbox_up = on_sandbox_up
        self.struck: Counter[str] = Counter()
        """How often each part was struck how."""
        self.twilio_frozen: list[tuple[datetime, datetime]] = []
        """From when to when the sandbox stood still."""
        self.ended_by_itself: list[str] = []
        """Parts that were not up although nobody had struck them down."""

    async def run(self, strikes: Sequence[Strike]) -> None:
        """Strike; return when the last part is up again."""
        begun = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for process in self._stack.processes:
                own = [strike for strike in strikes if strike.part == process.name]
                group.create_task(self._torment(process, own, begun))
            locks = [strike for strike in strikes if strike.part == _DATABASE]
            group.create_task(self._lock_again_and_again(locks, begun))

    async def _torment(self, process: Process, strikes: Sequence[Strike], begun: float) -> None:
        for strike in strikes:
            await asyncio.sleep(max(0.0, begun + strike.at - time.monotonic()))
            await self._revive(process)
            self._count(strike)
            await self._strike(process, strike)
        await self._revive(process)

    async def _lock_again_and_again(self, strikes: Sequence[Strike], begun: float) -> None:
        url = self._stack.settings["DATABASE_URL"]
        for strike in strikes:
            await asyncio.sleep(max(0.0, begun + strike.at - time.monotonic()))
            self._count(strike)
            await asyncio.to_thread(lock, url, seconds=strike.seconds)

    def _count(self, strike: Strike) -> None:
        self.struck[f"{strike.part}: {strike.blow}"] += 1

    async def _strike(self, process: Process, strike: Strike) -> None:
        match strike.blow:
            case Blow.FREEZE:
                since = datetime.now(UTC)
                with frozen(process):
                    await asyncio.sleep(strike.seconds)
                if process is self._stack.twilio:
                    self.twilio_frozen.append((since, datetime.now(UTC)))
            case Blow.KILL:
                await asyncio.to_thread(process.kill)
                await asyncio.sleep(strike.seconds)
                await self._bring_up(process)
            case Blow.RESTART:
                await asyncio.to_thread(process.stop)
                await self._bring_up(process)

    async def _revive(self, process: Process) -> None:
        try:
            process.check()
        except ProcessDied as death:
            self.ended_by_itself.append(str(death))
            await self._bring_up(process)

    async def _bring_up(self, process: Process) -> None:
        """As an init system would: again and again; it may need another part that is down now."""
        while True:
            try:
                await asyncio.to_thread(process.start)
            except StackError:
                await asyncio.to_thread(process.kill)
                await asyncio.sleep(0.3)
                continue
            break
        if process is self._stack.twilio:
            await asyncio.to_thread(self._on_sandbox_up)


@contextmanager
def frozen(process: Process) -> Iterator[None]:
    """Stop the process in whatever it is doing, and let it go on after the block."""
    pid = process.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def lock(database_url: str, *, seconds: float) -> None:
    """Keep everybody else from writing to this SQLite database for so long; blocks."""
    path = parse_url(database_url).database or ""
    with closing(sqlite3.connect(path, timeout=_FREE_WITHIN, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        time.sleep(seconds)
