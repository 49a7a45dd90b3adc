import asyncio

import pytest
from temporalio.api.enums.v1 import EventType

from messaging.contract import OPEN, Outcome, Stage
from messaging.failures import FailureClass
from stack.local import LocalStack
from tests.fixtures.stack import NewNumber
from tests.integration.support import Caller, Sent, events_of_type, until_true

pytestmark = pytest.mark.integration


async def test_a_worker_killed_in_the_middle_of_a_send(
    breakable_stack: LocalStack, brave_caller: Caller, new_number: NewNumber
) -> None:
    """After `kill -9` a POST whose answer nobody heard is repeated only if Twilio has no trace.

    A callback or Twilio's list names the message that was taken. One that was not is sent, or
    parked as a dead letter where the caller asked for that.
    """
    silence = {"respond": "hang_before_accept"}
    told = await brave_caller.send(new_number(), {"delay": 5})
    untold = await brave_caller.send(new_number(), {"delay": 5, "callbacks": {"lost": True}})
    never_taken = await brave_caller.send(new_number(), silence)
    parked = await brave_caller.send(new_number(), silence, if_unknown="park")
    everything = (told, untold, never_taken, parked)
    await until_true(
        lambda: all(each.accepted() or each.refused() for each in everything), "every POST"
    )

    breakable_stack.worker.kill()
    breakable_stack.worker.start()
    reports = await asyncio.gather(*(each.report() for each in everything))

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
    assert OPEN == (await parked.letter()).status
    assert ([], 1) == (parked.accepted(), len(parked.refused()))


async def test_a_worker_that_stops_finishes_its_sends(
    breakable_stack: LocalStack, brave_caller: Caller, new_number: NewNumber
) -> None:
    """SIGTERM with ten sends in flight: all are reported, it exits with 0, none is re-sent."""
    sent = [await brave_caller.send(new_number(), {"delay": 3}) for _ in range(10)]
    await _accepted_by_twilio(*sent)
    for each in sent:
        assert Stage.SENDING == (await each.progress()).status

    exit_code = await asyncio.to_thread(breakable_stack.worker.stop)
    reported = [
        len(events_of_type(await each.events(), EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED))
        for each in sent
    ]
    breakable_stack.worker.start()
    reports = await asyncio.gather(*(each.report() for each in sent))

    assert 0 == exit_code
    assert [1] * 10 == reported
    assert [(Outcome.DELIVERED, 1)] * 10 == [(each.outcome, each.attempts) for each in reports]
    assert [1] * 10 == [len(each.accepted()) for each in sent]


async def _accepted_by_twilio(*sent: Sent) -> None:
    await until_true(lambda: all(each.accepted() for each in sent), "Twilio to accept all")
