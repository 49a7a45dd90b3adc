import asyncio

import pytest

from signedfor.contract import OPEN, Outcome
from signedfor.contract.failures import FailureClass
from tests.fixtures.stack import NewNumber
from tests.integration.support import Caller

pytestmark = pytest.mark.integration

_LOST = {"callbacks": {"lost": True}}
_TAKEN = (
    {"respond": "drop_after_accept"},
    {"respond": "error_after_accept", "code": 20500, "http_status": 500},
    {"respond": "error_after_accept", "http_status": 502, "html": True},
    {"respond": "empty_201"},
    {"respond": "html_201"},
    {"respond": "created_no_sid"},
)
"""Twilio has the message, and its answer does not say so."""
_NOT_TAKEN = (
    {"respond": "drop_before_accept"},
    {"respond": "error", "code": 20500, "http_status": 500},
    {"respond": "error", "code": 20503, "http_status": 503},
)
"""Twilio does not have the message, and its answer does not say so either."""


async def test_a_message_that_twilio_took_is_not_sent_again(
    caller: Caller, new_number: NewNumber
) -> None:
    """Whatever the answer to the create was, the message is found, and goes on, once.

    With callbacks it is found by them; without any, in Twilio's list.
    """
    sent = [
        await caller.send(new_number(), {**step, **more}) for step in _TAKEN for more in ({}, _LOST)
    ]

    reports = await asyncio.gather(*(each.report() for each in sent))

    for message, report in zip(sent, reports, strict=True):
        [row] = message.accepted()
        assert (Outcome.DELIVERED, row["sid"], 1) == (
            report.outcome,
            report.message_sid,
            report.attempts,
        )


async def test_a_message_that_twilio_took_and_then_failed_is_not_sent_again(
    caller: Caller, new_number: NewNumber
) -> None:
    """Its code decides, as if the answer had come; an answer that got lost is no second chance."""
    failed = {**_TAKEN[1], **_LOST, "final": "failed", "error_code": 30007}
    message = await caller.send(new_number(), failed)

    report = await message.report()

    [row] = message.accepted()
    assert (Outcome.UNDELIVERED, 30007, row["sid"], 1) == (
        report.outcome,
        report.error_code,
        report.message_sid,
        report.attempts,
    )


async def test_a_message_that_twilio_did_not_take_is_sent_or_parked(
    caller: Caller, new_number: NewNumber
) -> None:
    """When Twilio has no trace of it after two searches, it is sent again, or parked if asked."""
    again = [await caller.send(new_number(), step) for step in _NOT_TAKEN]
    parked = [await caller.send(new_number(), step, priority="bulk") for step in _NOT_TAKEN]

    sent = await asyncio.gather(*(each.report() for each in again))
    held = await asyncio.gather(*(each.report() for each in parked))

    assert [(Outcome.DELIVERED, 2)] * 3 == [(each.outcome, each.attempts) for each in sent]
    assert [(1, 1)] * 3 == [(len(each.accepted()), len(each.refused())) for each in again]
    assert [(Outcome.UNCONFIRMED, FailureClass.OUTCOME_UNKNOWN, 1)] * 3 == [
        (each.outcome, each.failure_class, each.attempts) for each in held
    ]
    assert [(0, 1)] * 3 == [(len(each.accepted()), len(each.refused())) for each in parked]
    assert [OPEN] * 3 == [(await each.letter()).status for each in parked]


async def test_another_message_is_not_taken_for_it(caller: Caller, new_number: NewNumber) -> None:
    """The same text to the same person, sent a moment earlier, is not mistaken for this one."""
    to = new_number()
    earlier = await caller.send(to)
    first = await earlier.report()

    second = await (await caller.send(to, {"respond": "drop_before_accept"})).report()

    assert [Outcome.DELIVERED] * 2 == [first.outcome, second.outcome]
    assert [first.message_sid, second.message_sid] == [row["sid"] for row in earlier.accepted()]
    assert first.message_sid != second.message_sid
