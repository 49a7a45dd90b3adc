import asyncio
import os
import sqlite3
from collections import Counter
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from threading import Thread

import psutil
import pytest
from temporalio.service import RPCError, RPCStatusCode

from devtools.stack.backups import copy_database, restore_database
from devtools.stack.local import LocalStack
from devtools.stack.processes import Process, ProcessGroup, says
from signedfor.contract import MESSAGES_QUEUE, SEND_MESSAGE, message_workflow_id
from signedfor.retry import READ_TIMEOUT, SEND_TIMEOUT
from tests.devtools.stack.support import wait_for
from tests.faults.soak.injection import (
    DATABASE,
    SANDBOX,
    TEMPORAL,
    WEBHOOK,
    WORKER,
    Fault,
    FaultInjector,
    FaultKind,
    frozen,
    lock,
    schedule,
)
from tests.faults.soak.invariants import Period
from tests.fixtures.stack import SHORT_WAITS
from tests.integration.support import until_true

_PROFILES = {
    "worker": WORKER,
    "webhook": WEBHOOK,
    "sandbox": SANDBOX,
    "Temporal server": TEMPORAL,
    "database": DATABASE,
}


def test_a_seed_reproduces_its_schedule() -> None:
    """The same seed gives the same faults at the same times; another seed does not."""
    first, again, other = (schedule(seed, seconds=60, profiles=_PROFILES) for seed in (7, 7, 8))

    assert first == again
    assert first != other


@pytest.mark.parametrize("part", _PROFILES)
def test_faults_of_one_part_do_not_overlap(part: str) -> None:
    """A part runs again before its next fault, and no fault starts after the end."""
    faults = [each for each in schedule(7, seconds=600, profiles=_PROFILES) if each.part == part]

    assert len(faults) > 10
    for before, after in pairwise(faults):
        assert before.at + before.seconds + 2 <= after.at
    assert faults[-1].at < 600


def test_every_kind_of_fault_is_scheduled() -> None:
    """In a long soak each process is killed, frozen and restarted, and the database locked.

    Some freezes outlast a send, and some locks the five seconds that processes wait for one.
    """
    faults = schedule(7, seconds=2000, profiles=_PROFILES)

    scheduled = {(each.part, each.kind) for each in faults}
    possible = {(part, kind) for part, profile in _PROFILES.items() for kind in profile.kinds}
    assert possible == scheduled
    assert set(FaultKind) == {kind for _, kind in scheduled}
    frozen_long = [
        each
        for each in faults
        if each.kind is FaultKind.FREEZE and each.seconds > SEND_TIMEOUT.total_seconds()
    ]
    assert {"worker"} == {each.part for each in frozen_long}
    backups = [each.seconds for each in faults if each.kind is FaultKind.RESTORE]
    assert min(backups) >= TEMPORAL.backup_age[0]
    assert any(each.kind is FaultKind.LOCK and each.seconds > 5 for each in faults)


def test_twilio_is_not_frozen_past_a_read_timeout() -> None:
    """The client must still be waiting for what a frozen sandbox accepts when it continues."""
    assert SANDBOX.freeze < READ_TIMEOUT.total_seconds()


@pytest.mark.integration
def test_a_frozen_process_continues(tmp_path: Path) -> None:
    """A process is stopped within the block and continues after it."""
    with ProcessGroup() as group:
        process = Process(
            "sleeper",
            ["/bin/sh", "-c", "echo ready; while :; do :; done"],
            group=group,
            environment={"PATH": os.defpath},
            folder=tmp_path,
            log=tmp_path / "log",
            is_ready=says("ready"),
        )
        process.start()
        status = psutil.Process(process.pid).status

        with frozen(process):
            wait_for(lambda: status() == psutil.STATUS_STOPPED, "it to stop")

        wait_for(lambda: status() == psutil.STATUS_RUNNING, "it to continue")


@pytest.mark.integration
@pytest.mark.timeout(120)
async def test_one_worker_is_frozen_at_a_time(tmp_path: Path) -> None:
    """Freezes of two workers at the same time are made one after the other."""
    with LocalStack(tmp_path, settings=SHORT_WAITS, workers=2) as stack:
        injector = FaultInjector(
            stack, on_sandbox_start=lambda: None, on_restore=lambda period: period
        )
        names = [each.name for each in stack.workers]
        await injector.run(
            [Fault(at=0, part=name, kind=FaultKind.FREEZE, seconds=0.3) for name in names]
        )

    [(_, end), (start, _)] = injector.worker_frozen
    assert end <= start
    assert Counter({f"{name}: SIGSTOP": 1 for name in names}) == injector.injected


@pytest.mark.integration
@pytest.mark.timeout(120)
async def test_a_restored_temporal_server_has_forgotten(tmp_path: Path) -> None:
    """Workflows that were started after the backup are gone, and earlier ones are there."""
    forgotten: list[Period] = []
    with LocalStack(tmp_path, settings=SHORT_WAITS, only_servers=True) as stack:
        client = await stack.client()

        async def start(message_id: str) -> None:
            await client.start_workflow(
                SEND_MESSAGE, id=message_workflow_id(message_id), task_queue=MESSAGES_QUEUE
            )

        async def is_known(message_id: str) -> bool:
            try:
                await client.get_workflow_handle(message_workflow_id(message_id)).describe()
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise
                return False
            return True

        await start("before")
        injector = FaultInjector(stack, on_sandbox_start=lambda: None, on_restore=forgotten.append)
        part, backup = stack.temporal.name, stack.folder / "temporal-backup.db"
        restore = Fault(at=0, part=part, kind=FaultKind.RESTORE, seconds=3)
        restoring = asyncio.create_task(injector.run([restore]))
        await until_true(lambda: backup.exists() and backup.stat().st_size > 0, "the backup")
        await start("after")
        assert await is_known("after")
        await restoring

        assert [True, False] == [await is_known(each) for each in ("before", "after")]
        assert forgotten == injector.forgotten
        assert 1 == len(forgotten)


def test_a_restored_database_is_as_old_as_its_copy(tmp_path: Path) -> None:
    """Also what was committed only to its write-ahead log is gone."""
    path, backup = tmp_path / "a.db", tmp_path / "backup.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE numbers (number)")
    connection.execute("INSERT INTO numbers VALUES (1)")
    copy_database(path, backup)
    connection.execute("INSERT INTO numbers VALUES (2)")
    log = path.with_name("a.db-wal").read_bytes()
    connection.close()
    path.with_name("a.db-wal").write_bytes(log)  # as after kill -9

    restore_database(backup, path)

    with closing(sqlite3.connect(path)) as restored:
        assert [(1,)] == restored.execute("SELECT number FROM numbers").fetchall()


def test_a_locked_database_accepts_no_writes(tmp_path: Path) -> None:
    """Until the lock ends by itself."""
    path = tmp_path / "signedfor.db"
    holder = Thread(target=lock, args=[f"sqlite:///{path}"], kwargs={"seconds": 0.5})

    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:

        def can_write() -> bool:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            connection.execute("ROLLBACK")
            return True

        assert can_write()
        holder.start()
        wait_for(lambda: not can_write(), "it to be locked")
        holder.join()
        assert can_write()
