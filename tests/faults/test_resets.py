"""`temporal workflow reset` repeats a message's workflow, and never its POST."""

import pytest

from devtools.sandbox.client import Step
from signedfor.contract import Outcome, Stage
from tests.faults.support import completed_tasks, reset_workflow
from tests.fixtures.stack import NewNumber
from tests.integration.support import Caller, Sent

pytestmark = pytest.mark.integration

_NO_CALLBACKS: Step = {"callbacks": {"lost": True}}
_LATE: Step = {"callbacks": {"delay": 4}}


async def test_a_delivered_message_is_delivered_once_after_every_reset(
    caller: Caller, new_number: NewNumber
) -> None:
    """Whichever workflow task it is reset to: the new run finds the submission and its receipt."""
    sent = await caller.send(new_number())
    before = await sent.report()
    tasks = await _completed_tasks(sent)
    first_run = (await sent.handle.describe()).run_id

    for task in tasks:
        await _reset(sent, task, run_id=first_run)
        report = await sent.report()
        assert (Outcome.DELIVERED, before.message_sid) == (report.outcome, report.message_sid)

    assert len(tasks) >= 2
    assert 1 == len(sent.accepted())


@pytest.mark.parametrize("task", [0, -1], ids=["first task", "last task"])
async def test_reset_while_it_awaits_its_receipt(
    caller: Caller, new_number: NewNumber, task: int
) -> None:
    """Its first callbacks came before the reset and are not repeated; it is not sent again."""
    sent = await caller.send(new_number(), _LATE)
    await sent.reaches(Stage.AWAITING_RECEIPT)

    await _reset(sent, (await _completed_tasks(sent))[task])

    assert Outcome.DELIVERED is (await sent.report()).outcome
    assert 1 == len(sent.accepted())


async def test_reset_while_its_outcome_is_resolved(caller: Caller, new_number: NewNumber) -> None:
    """Twilio accepted it and the answer was lost: the new run resolves the same submission."""
    sent = await caller.send(new_number(), {"respond": "drop_after_accept", **_NO_CALLBACKS})
    await sent.reaches(Stage.RESOLVING)

    await _reset(sent, (await _completed_tasks(sent))[0])

    assert Outcome.DELIVERED is (await sent.report()).outcome
    assert 1 == len(sent.accepted())


async def test_a_refused_message_is_sent_after_a_reset(
    caller: Caller, new_number: NewNumber
) -> None:
    """Twilio refused it, so a reset after the cause was fixed sends it."""
    sent = await caller.send(new_number(), {"respond": "error", "code": 21408, "http_status": 400})
    assert Outcome.FAILED is (await sent.report()).outcome

    await _reset(sent, (await _completed_tasks(sent))[0])

    assert Outcome.DELIVERED is (await sent.report()).outcome
    assert 1 == len(sent.accepted())


async def _completed_tasks(sent: Sent) -> list[int]:
    return completed_tasks(await sent.events())


async def _reset(sent: Sent, event_id: int, *, run_id: str = "") -> None:
    await reset_workflow(sent.client, sent.handle.id, event_id, run_id=run_id)
