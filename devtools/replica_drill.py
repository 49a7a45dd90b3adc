"""`python -m devtools.replica_drill`: lose a PostgreSQL server, promote its replica, balance.

Our database is on a primary with an asynchronous replica, which a lost network cuts off for some
seconds before the primary dies: its last commits are on no other machine. Temporal loses nothing.
Then the operator does what docs/how-to/back-up-and-restore.md says. Exit code 0 if the books
balance.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import psycopg

from devtools.backup_drill import SETTINGS, Books, Drill, show
from devtools.stack.local import LocalStack
from devtools.stack.ports import HOST, free_ports
from devtools.stack.postgres import Postgres, find_binaries, unprivileged_account
from devtools.stack.processes import (
    ProcessGroup,
    StackError,
    as_account,
    interrupt_on_signals,
)

_DATABASE: Final = "signedfor"
_SETTINGS: Final = {"fsync": "off"}
"""The machine does not stop; without fsync a drill takes no longer than it must."""


class Replicated:
    """A primary and its replica; after `fail_over`, what was the replica at the primary's port."""

    def __init__(self, folder: Path, group: ProcessGroup) -> None:
        self._folder, self._group = folder, group
        self._port, other = free_ports(2)
        self._primary = self._server("primary", self._port)
        self._replica = self._server("replica", other)

    @property
    def url(self) -> str:
        """Of our database, wherever it is."""
        return self._primary.url(_DATABASE)

    def start(self) -> None:
        """Start both; the replica from a base backup."""
        self._primary.initialise()
        self._primary.start()
        self._primary.execute(f"CREATE DATABASE {_DATABASE}")
        account = unprivileged_account()
        folder = self._folder / "replica"
        if account is not None:
            os.chown(folder, account.user, account.group)
        command: list[str | Path] = [
            *(
                find_binaries() / "pg_basebackup",
                "--pgdata",
                folder / "data",
                "--write-recovery-conf",
            ),
            *("--checkpoint=fast", "--no-sync", f"--host={HOST}", f"--port={self._port}"),
            "--username=postgres",
        ]
        done = subprocess.run(  # noqa: S603 - our own arguments
            command, cwd=folder, capture_output=True, text=True, check=False, **as_account(account)
        )
        if done.returncode != 0:
            raise StackError(f"pg_basebackup failed:\n{done.stderr}")
        self._replica.start()

    def cut(self) -> None:
        """Let the replica receive nothing more, as if the network between the two was lost."""
        self._replica.execute("ALTER SYSTEM SET primary_conninfo = ''")
        self._replica.execute("SELECT pg_reload_conf()")
        while _row(self._replica, "SELECT count(*) FROM pg_stat_wal_receiver") != 0:
            time.sleep(0.05)

    def kill_primary(self) -> None:
        """As a power cut would."""
        self._primary.kill()

    def fail_over(self) -> datetime:
        """Promote the replica at the primary's address; when its last commit was made."""
        last = _row(self._replica, "SELECT pg_last_xact_replay_timestamp()")
        self._replica.stop()
        promoted = self._server("replica", self._port)
        promoted.start()
        promoted.execute("SELECT pg_promote()")
        self._primary = promoted
        if not isinstance(last, datetime):
            raise StackError("The replica has replayed no commit.")
        return last.astimezone(UTC)

    def attempts(self) -> int:
        """How many attempt records there are."""
        with psycopg.connect(self.url) as connection:
            [(count,)] = connection.execute("SELECT count(*) FROM send_attempts").fetchall()
        return int(count)

    def stop(self) -> None:
        """Stop both."""
        for each in (self._replica, self._primary):
            each.stop()

    def _server(self, name: str, port: int) -> Postgres:
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        log = self._folder / f"{name}.log"
        return Postgres(folder=folder, port=port, group=self._group, log=log, settings=_SETTINGS)


def _row(server: Postgres, query: str) -> object:
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        [(value,)] = connection.execute(query.encode()).fetchall()
    return value


class ReplicaDrill(Drill):
    """One drill on a running stack whose database is the primary's."""

    def __init__(
        self, stack: LocalStack, servers: Replicated, *, seconds: float, lag: float
    ) -> None:
        """`lag`: for how many of these seconds the primary commits what the replica never gets."""
        super().__init__(stack, seconds=seconds, older_database=True)
        self._servers, self._lag = servers, lag

    async def run(self) -> Books:
        """Load, a lost network, a lost primary, fail-over, and the balance."""
        load = asyncio.create_task(self.load())
        await asyncio.sleep(self.seconds - self._lag)
        await asyncio.to_thread(self._servers.cut)
        cut_off, before = time.monotonic(), self.accepted()
        await asyncio.sleep(self._lag / 2)
        self.send_stops()
        await asyncio.sleep(self._lag / 2)
        self.books.records_of_primary = await asyncio.to_thread(self._servers.attempts)
        await asyncio.to_thread(self._servers.kill_primary)
        lost = time.monotonic()
        load.cancel()
        await asyncio.gather(load, return_exceptions=True)
        for process in (self.stack.worker, self.stack.webhook):
            await asyncio.to_thread(process.stop)
        self.books.lost_seconds = lost - cut_off
        self.books.accepted_after_backup = (self.accepted() - before).total()
        last = await asyncio.to_thread(self._servers.fail_over)
        self.books.records_of_replica = await asyncio.to_thread(self._servers.attempts)
        await asyncio.to_thread(self.restore_attempts, last, "--temporal-is-complete")
        await asyncio.to_thread(self.stack.webhook.start)
        await self.start_worker(lost)
        await self.settle()
        self.books.seconds_to_idle = time.monotonic() - lost - self.books.restore_seconds
        await self.balance()
        return self.books


@contextmanager
def replicated() -> Iterator[Replicated]:
    """A primary and a replica, in a folder that PostgreSQL's account can reach."""
    with tempfile.TemporaryDirectory(prefix="signedfor-replica-") as name, ProcessGroup() as group:
        folder = Path(name)
        folder.chmod(0o711)
        servers = Replicated(folder, group)
        servers.start()
        try:
            yield servers
        finally:
            servers.stop()


def main() -> int:
    """Run one drill and print its books: 0 if they balance."""
    interrupt_on_signals()
    parser = argparse.ArgumentParser(prog="python -m devtools.replica_drill", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30, help="how long messages are started")
    parser.add_argument("--lag", type=float, default=5, help="how far the replica is behind")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="signedfor-drill-") as folder, replicated() as servers:
        settings = {**SETTINGS, "DATABASE_URL": servers.url}
        with LocalStack(Path(folder), settings=settings) as stack:
            drill = ReplicaDrill(stack, servers, seconds=arguments.seconds, lag=arguments.lag)
            books = asyncio.run(drill.run())
    return show(books)


if __name__ == "__main__":
    sys.exit(main())
