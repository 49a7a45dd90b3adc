import os
import sqlite3
from collections import Counter
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from threading import Thread

import psutil
import pytest

from devtools.bench.chaos import (
    DATABASE,
    SANDBOX,
    TEMPORAL,
    WEBHOOK,
    WORKER,
    Blow,
    frozen,
    lock,
    schedule,
)
from devtools.stack.processes import Process, ProcessGroup, says
from signedfor.retry import READ_TIMEOUT, SEND_TIMEOUT
from tests.devtools.stack.support import wait_for

_HABITS = {
    "worker": WORKER,
    "webhook": WEBHOOK,
    "sandbox": SANDBOX,
    "Temporal server": TEMPORAL,
    "database": DATABASE,
}


def test_a_seed_reproduces_its_schedule() -> None:
    """The same seed strikes the same parts at the same times; another seed does not."""
    first, again, other = (schedule(seed, seconds=60, habits=_HABITS) for seed in (7, 7, 8))

    assert first == again
    assert first != other


@pytest.mark.parametrize("part", _HABITS)
def test_strikes_on_one_part_do_not_overlap(part: str) -> None:
    """A part is up again before it is struck the next time, and the storm ends in its time."""
    strikes = [each for each in schedule(7, seconds=600, habits=_HABITS) if each.part == part]

    assert len(strikes) > 10
    for before, after in pairwise(strikes):
        assert before.at + before.seconds + 2 <= after.at
    assert strikes[-1].at < 600


def test_every_blow_is_dealt() -> None:
    """Over a long storm each process is killed, frozen and restarted, and the database locked.

    Some freezes outlast a send, and some locks the five seconds that one is waited for.
    """
    strikes = schedule(7, seconds=2000, habits=_HABITS)

    dealt = Counter((each.part, each.blow) for each in strikes)
    assert {(part, blow) for part, habits in _HABITS.items() for blow in habits.blows} == set(dealt)
    assert set(Blow) == {blow for _, blow in dealt}
    frozen_long = [
        each
        for each in strikes
        if each.blow is Blow.FREEZE and each.seconds > SEND_TIMEOUT.total_seconds()
    ]
    assert {"worker"} == {each.part for each in frozen_long}
    assert any(each.blow is Blow.LOCK and each.seconds > 5 for each in strikes)


def test_twilio_is_not_frozen_past_a_read_timeout() -> None:
    """What a frozen sandbox takes when it thaws must still belong to a request that waits."""
    assert SANDBOX.freeze < READ_TIMEOUT.total_seconds()


@pytest.mark.integration
def test_a_frozen_process_goes_on(tmp_path: Path) -> None:
    """A process stands still within the block and goes on after it."""
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
            wait_for(lambda: status() == psutil.STATUS_STOPPED, "it to stand still")

        wait_for(lambda: status() == psutil.STATUS_RUNNING, "it to go on")


def test_a_locked_database_takes_nothing_and_then_goes_on(tmp_path: Path) -> None:
    """While it is locked nobody can write; the lock ends by itself."""
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
