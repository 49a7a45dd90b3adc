import asyncio
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType

from devtools.stack.local import LocalStack
from signedfor.contract import OPEN, Outcome
from signedfor.contract.failures import FailureClass
from tests.faults.soak.injection import frozen
from tests.faults.support import database_locked, send_started, sent_soon
from tests.fixtures.stack import SHORT_WAITS, NewNumber, silent_stack
from tests.integration.support import Caller, Sent, events_of_type, until, until_true

pytestmark = pytest.mark.integration

_DELIVERED_ONCE = (Outcome.DELIVERED, 1)


async def test_killed_before_the_request_is_written(
    breakable_stack: LocalStack, caller: Caller, new_number: NewNumber
) -> None:
    """A worker killed during its last check has sent nothing; the message is sent once."""
    sent = await sent_soon(caller, new_number())
    with database_locked(breakable_stack):
        await send_started(sent)
        breakable_stack.worker.kill()
    breakable_stack.worker.start()

    report = await sent.report()

    assert _DELIVERED_ONCE == (report.outcome, len(sent.accepted()))
    assert [] == sent.refused()


async def _is_timed_out(sent: Sent) -> bool:
    timed_out = EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT
    return bool(events_of_type(await sent.events(), timed_out))


async def test_frozen_past_its_deadline_and_continued(
    tmp_path: Path, new_number: NewNumber
) -> None:
    """A worker that continues after another has retried its send makes no POST of its own."""
    with LocalStack(tmp_path, settings=SHORT_WAITS, workers=2) as stack:
        frozen_worker, other = stack.workers
        other.stop()
        caller = Caller(stack=stack, client=await stack.client())
        with ExitStack() as freeze:
            sent = await sent_soon(caller, new_number())
            with database_locked(stack):
                await send_started(sent)
                freeze.enter_context(frozen(frozen_worker))
            await asyncio.to_thread(other.start)
            await until(lambda: _is_timed_out(sent), "Temporal to time the workflow task out")
        report = await sent.report()
        await asyncio.to_thread(frozen_worker.stop)  # it ends its attempt first

        assert Outcome.DELIVERED is report.outcome
        assert 1 == len(sent.accepted())


async def test_canceled_before_a_worker_started_it(
    breakable_stack: LocalStack, caller: Caller, new_number: NewNumber
) -> None:
    """A cancel that waits for a worker together with the message is handled: nothing is sent."""
    breakable_stack.worker.stop()
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    sent = [await caller.send(new_number()), await caller.send(new_number(), send_at=soon)]
    canceling = [asyncio.create_task(each.cancel()) for each in sent]
    await asyncio.sleep(1)  # both are at the server by now; if not, the test is only easier

    breakable_stack.worker.start()
    answers = await asyncio.gather(*canceling)
    reports = await asyncio.gather(*(each.report() for each in sent))

    assert [True, True] == [each.canceled for each in answers]
    assert [Outcome.CANCELED] * 2 == [each.outcome for each in reports]
    assert [[], []] == [each.accepted() for each in sent]


async def _is_reported(sent: Sent) -> bool:
    """Whether its send has reported a result: the workflow task has ended, and recorded it."""
    return bool(events_of_type(await sent.events(), EventType.EVENT_TYPE_MARKER_RECORDED))


@pytest.mark.timeout(180)
async def test_stops_with_a_hundred_sends_in_flight(tmp_path: Path, new_number: NewNumber) -> None:
    """SIGTERM: every POST in flight ends and is reported, and none is made twice."""
    with silent_stack(tmp_path, MAX_CONCURRENT_SENDS="100") as stack:
        caller = Caller(stack=stack, client=await stack.client())
        sent = await asyncio.gather(*(caller.send(new_number(), {"delay": 8}) for _ in range(100)))
        ledger = stack.sandbox.ledger
        await until_true(lambda: len(ledger()["accepted"]) == 100, "a hundred POSTs in flight")

        exit_code = await asyncio.to_thread(stack.worker.stop)
        # Before another worker runs, which would resolve what was not reported.
        reported = [await _is_reported(each) for each in sent]
        stack.worker.start()
        reports = await asyncio.gather(*(each.report() for each in sent))

        assert 0 == exit_code
        assert [True] * 100 == reported
        assert {(Outcome.DELIVERED, 1)} == {(each.outcome, each.attempts) for each in reports}
        assert 100 == len(ledger()["accepted"])


@pytest.mark.timeout(180)
async def test_an_unknown_outcome_is_resolved_in_90_seconds(
    tmp_path: Path, new_number: NewNumber
) -> None:
    """After `kill -9` a POST without an answer is repeated only if Twilio has no trace of it.

    A callback or Twilio's list identifies a message that was accepted. One that was not is resent,
    or becomes a dead letter if the caller chose that. With the default waits this takes 10 s
    until the workflow task's timeout, 30 s for a callback and the first search, 30 s to the second.
    """
    silence = {"respond": "hang_before_accept"}
    with silent_stack(tmp_path, UNKNOWN_OUTCOME_WAIT_SECONDS="30") as stack:
        caller = Caller(stack=stack, client=await stack.client())
        by_callback = await caller.send(new_number(), {"delay": 9})
        by_list = await caller.send(new_number(), {"delay": 9, "callbacks": {"lost": True}})
        never_accepted = await caller.send(new_number(), silence)
        dead_lettered = await caller.send(new_number(), silence, on_unknown_outcome="dead_letter")
        everything = (by_callback, by_list, never_accepted, dead_lettered)
        await until_true(
            lambda: all(each.accepted() or each.refused() for each in everything), "every POST"
        )

        stack.worker.kill()
        stack.worker.start()
        started = time.monotonic()
        async with asyncio.timeout(90):
            reports = await asyncio.gather(*(each.handle.result() for each in everything))
        took = time.monotonic() - started

        for message, report, attempts in zip(everything[:3], reports[:3], (1, 1, 2), strict=True):
            [row] = message.accepted()
            assert (Outcome.DELIVERED, row["sid"], attempts) == (
                report.outcome,
                report.message_sid,
                report.attempts,
            )
        assert (Outcome.UNCONFIRMED, FailureClass.OUTCOME_UNKNOWN, None, 1) == (
            reports[3].outcome,
            reports[3].failure_class,
            reports[3].message_sid,
            reports[3].attempts,
        )
        assert OPEN == (await dead_lettered.dead_letter()).status
        assert ([], 1) == (dead_lettered.accepted(), len(dead_lettered.refused()))
        assert took <= 90
