import os
import sqlite3
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from threading import Thread

import psutil
import pytest

from devtools.stack.processes import Process, ProcessGroup, says
from signedfor.retry import READ_TIMEOUT, SEND_TIMEOUT
from tests.devtools.stack.support import wait_for
from tests.faults.soak.injection import (
    DATABASE,
    SANDBOX,
    TEMPORAL,
    WEBHOOK,
    WORKER,
    FaultKind,
    frozen,
    lock,
    schedule,
)

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
