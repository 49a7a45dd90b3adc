import os
from collections import Counter
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from bench.chaos import SANDBOX, TEMPORAL, WEBHOOK, WORKER, Blow, frozen, schedule
from messaging.retry import READ_TIMEOUT, SEND_TIMEOUT
from stack.processes import Process, ProcessGroup, says
from tests.stack.support import wait_for

_HABITS = {"worker": WORKER, "webhook": WEBHOOK, "sandbox": SANDBOX, "Temporal server": TEMPORAL}


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
    """Over a long storm each part is killed, frozen and restarted, and some sends outlasted."""
    strikes = schedule(7, seconds=2000, habits=_HABITS)

    dealt = Counter((each.part, each.blow) for each in strikes)
    assert {(part, blow) for part in _HABITS for blow in Blow} == set(dealt)
    frozen_long = [
        each
        for each in strikes
        if each.blow is Blow.FREEZE and each.seconds > SEND_TIMEOUT.total_seconds()
    ]
    assert {"worker"} == {each.part for each in frozen_long}


def test_twilio_is_not_frozen_past_a_read_timeout() -> None:
    """What a frozen sandbox takes when it thaws must still belong to a request that waits."""
    assert SANDBOX.freeze < READ_TIMEOUT.total_seconds()


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
