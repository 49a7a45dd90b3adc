"""Unknown outcomes: the truth is looked for, and nothing is sent again blindly."""

from datetime import timedelta

import pytest
from temporalio.client import WorkflowUpdateStage

from signedfor.contract import Outcome
from signedfor.contract.failures import FailureClass
from signedfor.retry import MAX_RESENDS, MAX_SEARCHES
from signedfor.steps import Decision, Finding, LookUp, SearchResult
from tests.workflows.courier import (
    REQUEST,
    SkippingWorld,
    accept,
    callback,
    failure,
    refuse,
    sid,
)

UNKNOWN = failure(FailureClass.OUTCOME_UNKNOWN)
ABSENT = SearchResult(finding=Finding.ABSENT)
UNDECIDED = SearchResult(finding=Finding.UNDECIDED)


def _found(number: int, status: str = "sent") -> SearchResult:
    return SearchResult(finding=Finding.FOUND, message_sid=sid(number), status=status)


async def test_a_callback_names_the_sid(world: SkippingWorld) -> None:
    """A callback carries our message id and the SID: the message goes on, nobody is asked."""
    world.courier.sends = [UNKNOWN]
    handle = await world.start()
    await world.until(lambda: len(world.courier.posts) == 1)
    await callback(handle, "delivered", number=7)

    report = await handle.result()

    assert (Outcome.DELIVERED, sid(7), 1) == (
        report.outcome,
        report.message_sid,
        len(world.courier.posts),
    )
    assert [] == world.courier.searched


async def test_a_message_found_in_twilios_list_goes_on(world: SkippingWorld) -> None:
    """Found: carried on with that SID, not sent again."""
    world.courier.sends = [UNKNOWN]
    world.courier.searches = [ABSENT, _found(9)]
    handle = await world.start()
    await world.until(lambda: len(world.courier.posts) == 1)
    await world.sleep(timedelta(minutes=2))
    await callback(handle, "delivered", number=9)

    report = await handle.result()

    assert (Outcome.DELIVERED, sid(9), 1) == (
        report.outcome,
        report.message_sid,
        len(world.courier.posts),
    )


async def test_a_message_found_delivered_is_delivered(world: SkippingWorld) -> None:
    """What the list says of its status counts as a receipt."""
    world.courier.sends = [UNKNOWN]
    world.courier.searches = [_found(9, "delivered")]

    assert Outcome.DELIVERED is (await world.report()).outcome


async def test_a_message_absent_twice_is_sent_again(world: SkippingWorld) -> None:
    """Two searches, at least 30 seconds apart, without a trace: then once more."""
    world.courier.sends = [UNKNOWN, accept(2)]
    begins = await world.now()
    handle = await world.start()
    await world.until(lambda: len(world.courier.posts) == 1)
    await world.sleep(timedelta(minutes=2))
    await callback(handle, "delivered", number=2)

    report = await handle.result()

    assert (Outcome.DELIVERED, sid(2), 2, 2) == (
        report.outcome,
        report.message_sid,
        len(world.courier.posts),
        len(world.courier.searched),
    )
    assert report.finished_at - begins >= timedelta(seconds=60)


async def test_one_absence_is_not_enough(world: SkippingWorld) -> None:
    """Twilio may list a message late: the second search finds what the first did not."""
    world.courier.sends = [UNKNOWN]
    world.courier.searches = [ABSENT, _found(3, "delivered")]

    report = await world.report()

    assert (Outcome.DELIVERED, 1) == (report.outcome, len(world.courier.posts))


@pytest.mark.parametrize("request_", [{"on_unknown_outcome": "dead_letter"}, {"priority": "bulk"}])
async def test_park_does_not_send_again(world: SkippingWorld, request_: dict[str, str]) -> None:
    """A message that asks to be parked, or is bulk, becomes a dead letter of its own kind."""
    world.courier.sends = [UNKNOWN]

    report = await world.report({**REQUEST, **request_})

    assert (Outcome.UNCONFIRMED, FailureClass.OUTCOME_UNKNOWN, 1) == (
        report.outcome,
        report.failure_class,
        len(world.courier.posts),
    )
    assert report.dead_letter_id is not None


@pytest.mark.parametrize("policy", ["dead_letter", "resend"])
async def test_what_was_not_submitted_is_submitted(world: SkippingWorld, policy: str) -> None:
    """Its worker died before the POST: that is certain, so it is sent whatever the policy says."""
    world.courier.sends = [UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, accept(5)]
    world.courier.searches = [SearchResult(finding=Finding.NOT_SUBMITTED)] * 4
    world.courier.look_ups = [LookUp(status="delivered")]

    report = await world.report({**REQUEST, "on_unknown_outcome": policy})

    assert (Outcome.DELIVERED, sid(5)) == (report.outcome, report.message_sid)
    assert 4 == len(world.courier.searched), "one search each is enough"


async def test_what_was_not_submitted_expires_as_such(world: SkippingWorld) -> None:
    """Nobody needs to look whether Twilio has it."""
    world.courier.sends = [UNKNOWN, refuse(Decision.NOT_YET, in_=timedelta(hours=4))]
    world.courier.searches = [SearchResult(finding=Finding.NOT_SUBMITTED)]
    expires_at = (await world.now() + timedelta(hours=2)).isoformat()

    report = await world.report({**REQUEST, "expires_at": expires_at})

    assert Outcome.EXPIRED is report.outcome
    assert FailureClass.OUTCOME_UNKNOWN is not report.failure_class


async def test_an_undecided_search_is_repeated_and_then_parked(world: SkippingWorld) -> None:
    """While another message of ours could be the one in the list, nothing is guessed or sent."""
    world.courier.sends = [UNKNOWN]
    world.courier.searches = [UNDECIDED] * MAX_SEARCHES

    report = await world.report()

    assert (FailureClass.OUTCOME_UNKNOWN, 1, MAX_SEARCHES) == (
        report.failure_class,
        len(world.courier.posts),
        len(world.courier.searched),
    )


async def test_sending_again_ends(world: SkippingWorld) -> None:
    """A message that is lost every time is parked after a few resends."""
    world.courier.sends = [UNKNOWN]

    report = await world.report()

    assert (FailureClass.OUTCOME_UNKNOWN, 1 + MAX_RESENDS) == (
        report.failure_class,
        len(world.courier.posts),
    )


async def test_an_expired_message_is_not_sent_again(world: SkippingWorld) -> None:
    """Absent, and its time has passed while it was looked for."""
    now = await world.now()
    world.courier.sends = [UNKNOWN]

    report = await world.report(
        {**REQUEST, "expires_at": (now + timedelta(seconds=45)).isoformat()}
    )

    assert (Outcome.EXPIRED, FailureClass.OUTCOME_UNKNOWN, 1) == (
        report.outcome,
        report.failure_class,
        len(world.courier.posts),
    )


async def test_a_cancel_while_it_is_looked_for_is_answered_when_it_is_certain(
    world: SkippingWorld,
) -> None:
    """Absent: canceled, and nothing is sent again."""
    world.courier.sends = [UNKNOWN]
    handle = await world.start()
    await world.until(lambda: len(world.courier.posts) == 1)
    update = await handle.start_update("cancel", wait_for_stage=WorkflowUpdateStage.ACCEPTED)
    report = await handle.result()

    assert (await update.result())["canceled"]
    assert (Outcome.CANCELED, 1) == (report.outcome, len(world.courier.posts))


async def test_earlier_sids_are_not_taken_for_the_new_one(world: SkippingWorld) -> None:
    """A later try that gets lost is not mistaken for the first one, which has the same text."""
    world.courier.sends = [accept(1), UNKNOWN]
    world.courier.searches = [_found(2, "delivered")]
    handle = await world.submitted()
    await callback(handle, "undelivered", code=30003)

    report = await handle.result()

    assert (sid(2), (sid(1),)) == (report.message_sid, world.courier.searched[0].own_sids)
