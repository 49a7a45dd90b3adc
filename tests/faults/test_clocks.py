"""A worker whose clock is an hour ahead: a real process, whose clock the test sets."""

import asyncio
import os
import re
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from devtools.sandbox.magic import GOOD_SENDER
from devtools.stack.local import LocalStack
from devtools.stack.ports import HOST, free_ports
from signedfor.contract import Outcome
from signedfor.metrics import CLOCK_OFFSET
from signedfor.store.database import open_engine
from signedfor.store.rate_limiter import RateLimiter
from signedfor.worker_checks import CHECK_INTERVAL
from tests.fixtures.clocks import WrongClock
from tests.fixtures.stack import SHORT_WAITS, NewNumber
from tests.integration.support import Caller, Sent, until_true
from tests.worker_process import Worker

pytestmark = pytest.mark.integration

_WRONG = "s ahead of Temporal's: it sends nothing"
_RIGHT = "clock is right again"


def _variables(stack: LocalStack, clock: WrongClock, **variables: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], **stack.settings, **clock.environment, **variables}


def _backlog(stack: LocalStack) -> timedelta:
    """How long a new message of the sender would wait."""
    engine = open_engine(stack.settings["DATABASE_URL"])
    backlog = RateLimiter(engine).backlog(GOOD_SENDER)
    engine.dispose()
    return backlog


async def _delivered_once(*messages: Sent) -> None:
    """Each of them is delivered, and Twilio has accepted it once, at the first POST."""
    reports = await asyncio.gather(*(each.report() for each in messages))
    assert {Outcome.DELIVERED} == {each.outcome for each in reports}
    assert {1} == {each.attempts for each in reports}
    assert {1} == {len(each.accepted()) for each in messages}
    assert [[]] * len(messages) == [each.refused() for each in messages]


@pytest.mark.timeout(180)
async def test_a_worker_that_starts_with_a_wrong_clock(
    tmp_path: Path, new_number: NewNumber, wrong_clock: WrongClock
) -> None:
    """It sends nothing and blocks no sender; a worker whose clock is right sends the messages."""
    [port] = free_ports(1)
    metrics = f"{HOST}:{port}"
    wrong_clock.set("+1h")
    with LocalStack(tmp_path / "stack", settings=SHORT_WAITS) as stack:
        stack.worker.stop()
        caller = Caller(stack=stack, client=await stack.client())
        variables = _variables(stack, wrong_clock, WORKER_METRICS_ADDRESS=metrics)
        with Worker(variables, tmp_path / "wrong.log") as wrong:
            await until_true(lambda: _WRONG in wrong.output, "the wrong clock to be noticed")
            async with httpx.AsyncClient() as http:
                exported = (await http.get(f"http://{metrics}/metrics")).text
            waiting = [await caller.send(new_number()) for _ in range(3)]
            progress = [len(await each.events()) for each in waiting]

            stack.worker.start()
            await _delivered_once(*waiting)

            assert _backlog(stack) < timedelta(seconds=1)
            assert "worker ready" not in wrong.output
            assert 1 == wrong.output.count(_WRONG)
    assert [2, 2, 2] == progress, "no worker has taken a message"
    offset = re.search(rf"^{CLOCK_OFFSET}(?:\{{[^}}]*\}})? ([\d.]+)$", exported, re.MULTILINE)
    assert offset is not None
    assert abs(float(offset[1]) - 3600) < 5


@pytest.mark.timeout(240)
async def test_a_clock_that_jumps_while_the_worker_runs(
    tmp_path: Path, new_number: NewNumber, wrong_clock: WrongClock
) -> None:
    """It stops, also for a message that it has accepted by then, and goes on when it is right."""
    within = 3 * CHECK_INTERVAL.total_seconds()
    with LocalStack(tmp_path / "stack", settings=SHORT_WAITS) as stack:
        stack.worker.stop()
        caller = Caller(stack=stack, client=await stack.client())
        with Worker(_variables(stack, wrong_clock), tmp_path / "jumping.log") as jumping:
            jumping.ready()
            await _delivered_once(await caller.send(new_number()))

            wrong_clock.set("+1h")
            waiting = [await caller.send(new_number()) for _ in range(3)]
            async with asyncio.timeout(within):
                while "worker stopping" not in jumping.output:  # noqa: ASYNC110 - of a process
                    await asyncio.sleep(0.1)
            assert 1 == jumping.output.count(_WRONG)
            assert [[], [], []] == [each.accepted() for each in waiting]
            assert _backlog(stack) < timedelta(seconds=1)
            stack.worker.start()
            await _delivered_once(*waiting)
            stack.worker.stop()

            wrong_clock.set("+0")
            async with asyncio.timeout(within):
                while jumping.output.count("worker ready") < 2:  # noqa: ASYNC110 - of a process
                    await asyncio.sleep(0.1)
            assert 1 == jumping.output.count(_RIGHT)
            await _delivered_once(await caller.send(new_number()))
