import asyncio

import pytest

from signedfor.contract import OPEN, Outcome
from signedfor.contract.failures import FailureClass
from tests.fixtures.stack import NewNumber
from tests.integration.support import Caller

pytestmark = pytest.mark.integration

_LOST = {"callbacks": {"lost": True}}
_ACCEPTED = (
    {"respond": "drop_after_accept"},
    {"respond": "error_after_accept", "code": 20500, "http_status": 500},
    {"respond": "error_after_accept", "http_status": 502, "html": True},
    {"respond": "empty_201"},
    {"respond": "html_201"},
    {"respond": "created_no_sid"},
)
"""Twilio has the message, but its response does not say so."""
_NOT_ACCEPTED = (
    {"respond": "drop_before_accept"},
    {"respond": "error", "code": 20500, "http_status": 500},
    {"respond": "error", "code": 20503, "http_status": 503},
)
"""Twilio does not have the message, and its response does not say so."""


async def test_a_message_that_twilio_accepted_is_not_sent_again(
    caller: Caller, new_number: NewNumber
) -> None:
    """Whatever the response to the create was, the message is found and continues.

    With callbacks it is found by them; without any, in Twilio's list.
    """
    sent = [
        await caller.send(new_number(), {**step, **more})
        for step in _ACCEPTED
        for more in ({}, _LOST)
    ]

    reports = await asyncio.gather(*(each.report() for each in sent))

    for message, report in zip(sent, reports, strict=True):
        [row] = message.accepted()
        assert (Outcome.DELIVERED, row["sid"], 1) == (
            report.outcome,
            report.message_sid,
            report.attempts,
        )


async def test_a_message_that_twilio_accepted_and_failed_is_not_sent_again(
    caller: Caller, new_number: NewNumber
) -> None:
    """Its code decides, as if the response had arrived; a lost response causes no second POST."""
    failed = {**_ACCEPTED[1], **_LOST, "final": "failed", "error_code": 30007}
    message = await caller.send(new_number(), failed)

    report = await message.report()

    [row] = message.accepted()
    assert (Outcome.UNDELIVERED, 30007, row["sid"], 1) == (
        report.outcome,
        report.error_code,
        report.message_sid,
        report.attempts,
    )


async def test_a_message_that_twilio_did_not_accept_is_resent_or_dead_lettered(
    caller: Caller, new_number: NewNumber
) -> None:
    """After two searches without a result it is sent again, or becomes a dead letter."""
    again = [await caller.send(new_number(), step) for step in _NOT_ACCEPTED]
    dead_lettered = [
        await caller.send(new_number(), step, priority="bulk") for step in _NOT_ACCEPTED
    ]

    sent = await asyncio.gather(*(each.report() for each in again))
    held = await asyncio.gather(*(each.report() for each in dead_lettered))

    assert [(Outcome.DELIVERED, 2)] * 3 == [(each.outcome, each.attempts) for each in sent]
    assert [(1, 1)] * 3 == [(len(each.accepted()), len(each.refused())) for each in again]
    assert [(Outcome.UNCONFIRMED, FailureClass.OUTCOME_UNKNOWN, 1)] * 3 == [
        (each.outcome, each.failure_class, each.attempts) for each in held
    ]
    assert [(0, 1)] * 3 == [(len(each.accepted()), len(each.refused())) for each in dead_lettered]
    assert [OPEN] * 3 == [(await each.dead_letter()).status for each in dead_lettered]


async def test_another_message_is_not_mistaken_for_it(
    caller: Caller, new_number: NewNumber
) -> None:
    """The same text to the same person, sent a moment earlier, is not mistaken for this one."""
    to = new_number()
    earlier = await caller.send(to)
    first = await earlier.report()

    second = await (await caller.send(to, {"respond": "drop_before_accept"})).report()

    assert [Outcome.DELIVERED] * 2 == [first.outcome, second.outcome]
    assert [first.message_sid, second.message_sid] == [row["sid"] for row in earlier.accepted()]
    assert first.message_sid != second.message_sid
