"""`python -m devtools.backup_drill`: back up under load, lose everything, restore, balance.

It runs a local system of its own, with the sandbox as Twilio, which remembers everything: what was
sent is counted there. Temporal is restored from a backup. So is our database, with
`--older-database`; otherwise it keeps its last commit, as after point-in-time recovery. Then the
operator does what docs/how-to/back-up-and-restore.md says. Exit code 0 if the books balance.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from devtools.sandbox.magic import GOOD_SENDER
from devtools.stack.backups import copy_database, restore_database
from devtools.stack.console import console
from devtools.stack.local import LocalStack
from devtools.stack.processes import StackError, interrupt_on_signals
from devtools.stack.temporal_server import TemporalServer
from signedfor.client import Client
from signedfor.contract import message_workflow_id
from signedfor.store.database import open_engine
from signedfor.store.suppressions import Suppressions

SETTINGS: Final = {
    "UNKNOWN_OUTCOME_WAIT_SECONDS": "1",
    "RECEIPT_CHECKS_SECONDS": "5,15",
    # Slower than the load, so that messages wait to be sent when the backup is taken.
    "DEFAULT_SEGMENTS_PER_SECOND": "long_code=12",
}
_RATE: Final = 16
"""Messages a second."""
_STOP_EVERY: Final = 20
"""One person in so many sends STOP after the backup."""
_RUNNING: Final = "WorkflowType = 'SendMessage' AND ExecutionStatus = 'Running'"
_IDLE_SECONDS: Final = 300


@dataclass
class Books:
    """What happened, in messages and seconds; `balances` if nothing is wrong."""

    older_database: bool
    messages: int = 0
    backup_seconds: float = 0
    backup_bytes: int = 0
    lost_seconds: float = 0
    """From the backup to the loss."""
    restore_seconds: float = 0
    """From the loss until a worker takes messages."""
    accepted_after_backup: int = 0
    """By Twilio, before the loss: what nobody may send again."""
    forgotten_by_temporal: int = 0
    attempts_restored: int = 0
    """Records that the older database lacked."""
    attempts_seconds: float = 0
    records_of_primary: int = 0
    records_of_replica: int = 0
    """Attempt records, in the drill with a replica."""
    started_again: int = 0
    opt_outs: int = 0
    opt_outs_back: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    sent_twice: int = 0
    sent_never: int = 0
    """Though the person had not opted out."""
    seconds_to_idle: float = 0

    @property
    def balances(self) -> bool:
        """Whether each was sent once, and every opt-out is in force."""
        return not (self.sent_twice or self.sent_never) and self.opt_outs == self.opt_outs_back


class Drill:
    """One drill on a running stack with `SETTINGS`."""

    def __init__(self, stack: LocalStack, *, seconds: float, older_database: bool) -> None:
        if not isinstance(stack.temporal, TemporalServer):
            raise StackError("The drill copies the files of the embedded servers.")
        self.stack, self.seconds = stack, seconds
        self._temporal = stack.temporal
        self._database = Path(stack.settings["DATABASE_URL"].removeprefix("sqlite:///"))
        self._people = {f"drill-{i}": f"+1555868{i:04d}" for i in range(round(_RATE * seconds))}
        self._started: list[str] = []
        self._stopped: set[str] = set()
        self.books = Books(older_database=older_database)

    async def run(self) -> Books:
        """Load, backup, loss, restore, and the balance."""
        load = asyncio.create_task(self.load())
        await asyncio.sleep(self.seconds / 3)
        backed_up_at = datetime.now(UTC)
        await asyncio.to_thread(self._back_up)
        backed_up, before = time.monotonic(), self.accepted()
        await asyncio.sleep(self.seconds / 3)
        self.send_stops()
        load.cancel()
        await asyncio.gather(load, return_exceptions=True)
        lost = time.monotonic()
        await asyncio.to_thread(self._lose_and_restore)
        self.books.lost_seconds = lost - backed_up
        self.books.accepted_after_backup = (self.accepted() - before).total()
        if self.books.older_database:
            await asyncio.to_thread(self.restore_attempts, backed_up_at)
        await self.start_worker(lost)
        await self.settle()
        self.books.seconds_to_idle = time.monotonic() - lost - self.books.restore_seconds
        await self.balance()
        return self.books

    async def load(self) -> None:
        """Start messages until the time is over."""
        client = Client(await self.stack.client())
        for message_id in self._people:
            await self._start(client, message_id, message_id)
            self._started.append(message_id)
            await asyncio.sleep(1 / _RATE)

    async def _start(self, client: Client, message_id: str, person: str) -> None:
        message = {"to": self._people[person], "from": GOOD_SENDER, "body": f"Parcel {person}."}
        await client.send(message, message_id=message_id)

    def _back_up(self) -> None:
        """Temporal first: what Temporal knows, the database must know too."""
        began = time.monotonic()
        copy_database(self._temporal.database, self._copy("temporal"))
        copy_database(self._database, self._copy("signedfor"))
        self.books.backup_seconds = time.monotonic() - began
        copies = (self._copy("temporal"), self._copy("signedfor"))
        self.books.backup_bytes = sum(each.stat().st_size for each in copies)

    def _copy(self, name: str) -> Path:
        return self.stack.folder / f"{name}-backup.db"

    def send_stops(self) -> None:
        """Let some people send STOP."""
        for message_id in self._started[::_STOP_EVERY]:
            self.stack.sandbox.inbound(self._people[message_id], GOOD_SENDER, "STOP")
            self._stopped.add(message_id)
        self.books.opt_outs = len(self._stopped)

    def _lose_and_restore(self) -> None:
        for process in (self.stack.worker, self.stack.webhook, self._temporal):
            process.kill()
        restore_database(self._copy("temporal"), self._temporal.database)
        if self.books.older_database:
            restore_database(self._copy("signedfor"), self._database)
        for process in (self._temporal, self.stack.webhook):
            process.start()

    def restore_attempts(self, since: datetime, *options: str) -> None:
        """The database has forgotten claims: what may have been sent is found out instead.

        Before any worker runs.
        """
        began = time.monotonic()
        command = ("messages", "restore-attempts", "--since", since.isoformat(), "--json")
        report = json.loads(self.stack.signedfor(*command, *options))
        self.books.attempts_restored = report["numbered"] + report["unnumbered"]
        self.books.attempts_seconds = time.monotonic() - began

    async def start_worker(self, lost: float) -> None:
        """Start it; with an older database, record the opt-outs that it lacks."""
        await asyncio.to_thread(self.stack.worker.start)
        self.books.restore_seconds = time.monotonic() - lost
        if self.books.older_database:
            # Further back than the backup.
            minutes = int(time.monotonic() - lost + self.seconds) // 60 + 2
            await asyncio.to_thread(
                self.stack.signedfor, "opt-outs", "catch-up", "--since", f"{minutes}m"
            )

    async def settle(self) -> None:
        """Callers start again what was forgotten, or with an older database what Twilio lacks."""
        temporal = await self.stack.client()
        client = Client(temporal)
        for message_id in self._started:
            try:
                await temporal.get_workflow_handle(message_workflow_id(message_id)).describe()
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise
                self.books.forgotten_by_temporal += 1
                if not self.books.older_database:
                    await self._start(client, message_id, message_id)
                    self.books.started_again += 1
        await self._idle()
        if self.books.older_database:
            accepted = self.accepted()
            for message_id in self._started:
                if not accepted[self._people[message_id]]:
                    await self._start(client, f"{message_id}-again", message_id)
                    self.books.started_again += 1
            await self._idle()

    async def _idle(self) -> None:
        client, give_up = await self.stack.client(), time.monotonic() + _IDLE_SECONDS
        idle = 0
        while idle < 3:  # noqa: PLR2004 - times in a row: the list lags behind by a moment
            if time.monotonic() > give_up:
                raise StackError(f"Messages still run after {_IDLE_SECONDS} seconds.")
            idle = 0 if (await client.count_workflows(_RUNNING)).count else idle + 1
            await asyncio.sleep(0.5)

    async def balance(self) -> None:
        """Compare what was started with what Twilio has accepted."""
        books, accepted = self.books, self.accepted()
        books.messages = len(self._started)
        engine = open_engine(self.stack.settings["DATABASE_URL"])
        people = {each.recipient for each in Suppressions(engine).list_(limit=10_000)}
        engine.dispose()
        books.opt_outs_back = sum(self._people[each] in people for each in self._stopped)
        books.sent_twice = sum(accepted[self._people[each]] > 1 for each in self._started)
        open_people = [each for each in self._started if each not in self._stopped]
        books.sent_never = sum(accepted[self._people[each]] == 0 for each in open_people)
        books.outcomes = dict(await self._outcomes())

    async def _outcomes(self) -> Counter[str]:
        client = await self.stack.client()
        found: Counter[str] = Counter()
        async for each in client.list_workflows("WorkflowType = 'SendMessage'"):
            if each.status is WorkflowExecutionStatus.COMPLETED:
                report = await Client(client).message(each.id.removeprefix("message:")).report()
                found[report.outcome.value] += 1
            else:
                found["no report"] += 1
        return found

    def accepted(self) -> Counter[str]:
        """Messages that Twilio has accepted, by recipient."""
        return Counter(row["to"] for row in self.stack.sandbox.ledger()["accepted"])


def main() -> int:
    """Run one drill and print its books: 0 if they balance."""
    interrupt_on_signals()
    parser = argparse.ArgumentParser(prog="python -m devtools.backup_drill", description=__doc__)
    parser.add_argument("--seconds", type=float, default=45, help="how long messages are started")
    parser.add_argument(
        "--older-database", action="store_true", help="restore our database from the backup too"
    )
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="signedfor-drill-") as folder,
        LocalStack(Path(folder), settings=SETTINGS) as stack,
    ):
        drill = Drill(stack, seconds=arguments.seconds, older_database=arguments.older_database)
        books = asyncio.run(drill.run())
    return show(books)


def show(books: Books) -> int:
    """Print them: 0 if they balance."""
    for name, value in asdict(books).items():
        console().print(f"{name.replace('_', ' '):24} {value}", highlight=False)
    console().print("The books balance." if books.balances else "The books do NOT balance.")
    return 0 if books.balances else 1


if __name__ == "__main__":
    sys.exit(main())
