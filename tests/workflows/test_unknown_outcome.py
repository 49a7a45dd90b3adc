"""Unknown outcomes: the truth is looked for, and nothing is sent again blindly."""

from datetime import timedelta

import pytest
from temporalio.client import WorkflowUpdateStage

from signedfor.contract import Outcome
from signedfor.contract.failures import FailureClass
from signedfor.message_activities import Absent, Ambiguous, Found, NeverSubmitted, StatusResult
from signedfor.retry import MAX_RESENDS, MAX_SEARCHES
from tests.workflows.fakes import (
    REQUEST,
    TimeSkippingEnvironment,
    accept,
    callback,
    deferred,
    failure,
    refuse,
    sid,
)

UNKNOWN = failure(FailureClass.OUTCOME_UNKNOWN)
ABSENT = Absent()
UNDECIDED = Ambiguous()


def _found(number: int, status: str = "sent") -> Found:
    return Found(message_sid=sid(number), status=status, error_code=None, created_at=None)


async def test_a_callback_names_the_sid(world: TimeSkippingEnvironment) -> None:
    """A callback carries our message id and the SID: the message goes on, nobody is asked."""
    world.fakes.sends = [UNKNOWN]
    handle = await world.start()
    await world.until(lambda: len(world.fakes.posts) == 1)
    await callback(handle, "delivered", number=7)

    report = await handle.result()

    assert (Outcome.DELIVERED, sid(7), 1) == (
        report.outcome,
        report.message_sid,
        len(world.fakes.posts),
    )
    assert [] == world.fakes.searched


async def test_a_message_found_in_twilios_list_goes_on(world: TimeSkippingEnvironment) -> None:
    """Found: carried on with that SID, not sent again."""
    world.fakes.sends = [UNKNOWN]
    world.fakes.searches = [ABSENT, _found(9)]
    handle = await world.start()
    await world.until(lambda: len(world.fakes.posts) == 1)
    await world.sleep(timedelta(minutes=2))
    await callback(handle, "delivered", number=9)

    report = await handle.result()

    assert (Outcome.DELIVERED, sid(9), 1) == (
        report.outcome,
        report.message_sid,
        len(world.fakes.posts),
    )


async def test_a_message_found_delivered_is_delivered(world: TimeSkippingEnvironment) -> None:
    """What the list says of its status counts as a receipt."""
    world.fakes.sends = [UNKNOWN]
    world.fakes.searches = [_found(9, "delivered")]

    assert Outcome.DELIVERED is (await world.report()).outcome


async def test_a_message_absent_twice_is_sent_again(world: TimeSkippingEnvironment) -> None:
    """Two searches, at least 30 seconds apart, without a trace: then once more."""
    world.fakes.sends = [UNKNOWN, accept(2)]
    begins = await world.now()
    handle = await world.start()
    await world.until(lambda: len(world.fakes.posts) == 1)
    await world.sleep(timedelta(minutes=2))
    await callback(handle, "delivered", number=2)

    report = await handle.result()

    assert (Outcome.DELIVERED, sid(2), 2, 2) == (
        report.outcome,
        report.message_sid,
        len(world.fakes.posts),
        len(world.fakes.searched),
    )
    assert report.finished_at - begins >= timedelta(seconds=60)


async def test_one_absence_is_not_enough(world: TimeSkippingEnvironment) -> None:
    """Twilio may list a message late: the second search finds what the first did not."""
    world.fakes.sends = [UNKNOWN]
    world.fakes.searches = [ABSENT, _found(3, "delivered")]

    report = await world.report()

    assert (Outcome.DELIVERED, 1) == (report.outcome, len(world.fakes.posts))


@pytest.mark.parametrize("request_", [{"on_unknown_outcome": "dead_letter"}, {"priority": "bulk"}])
async def test_park_does_not_send_again(
    world: TimeSkippingEnvironment, request_: dict[str, str]
) -> None:
    """A message that asks to be parked, or is bulk, becomes a dead letter of its own kind."""
    world.fakes.sends = [UNKNOWN]

    report = await world.report({**REQUEST, **request_})

    assert (Outcome.UNCONFIRMED, FailureClass.OUTCOME_UNKNOWN, 1) == (
        report.outcome,
        report.failure_class,
        len(world.fakes.posts),
    )
    assert report.dead_letter_id is not None


@pytest.mark.parametrize("policy", ["dead_letter", "resend"])
async def test_what_was_not_submitted_is_submitted(
    world: TimeSkippingEnvironment, policy: str
) -> None:
    """Its worker died before the POST: that is certain, so it is sent whatever the policy says."""
    world.fakes.sends = [UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, accept(5)]
    world.fakes.searches = [NeverSubmitted()] * 4
    world.fakes.statuses = [StatusResult(status="delivered")]

    report = await world.report({**REQUEST, "on_unknown_outcome": policy})

    assert (Outcome.DELIVERED, sid(5)) == (report.outcome, report.message_sid)
    assert 4 == len(world.fakes.searched), "one search each is enough"


async def test_what_was_not_submitted_expires_as_such(world: TimeSkippingEnvironment) -> None:
    """Nobody needs to look whether Twilio has it."""
    world.fakes.sends = [UNKNOWN, refuse(deferred(timedelta(hours=4)))]
    world.fakes.searches = [NeverSubmitted()]
    expires_at = (await world.now() + timedelta(hours=2)).isoformat()

    report = await world.report({**REQUEST, "expires_at": expires_at})

    assert Outcome.EXPIRED is report.outcome
    assert FailureClass.OUTCOME_UNKNOWN is not report.failure_class


async def test_an_undecided_search_is_repeated_and_then_parked(
    world: TimeSkippingEnvironment,
) -> None:
    """While another message of ours could be the one in the list, nothing is guessed or sent."""
    world.fakes.sends = [UNKNOWN]
    world.fakes.searches = [UNDECIDED] * MAX_SEARCHES

    report = await world.report()

    assert (FailureClass.OUTCOME_UNKNOWN, 1, MAX_SEARCHES) == (
        report.failure_class,
        len(world.fakes.posts),
        len(world.fakes.searched),
    )


async def test_sending_again_ends(world: TimeSkippingEnvironment) -> None:
    """A message that is lost every time is parked after a few resends."""
    world.fakes.sends = [UNKNOWN]

    report = await world.report()

    assert (FailureClass.OUTCOME_UNKNOWN, 1 + MAX_RESENDS) == (
        report.failure_class,
        len(world.fakes.posts),
    )


async def test_an_expired_message_is_not_sent_again(world: TimeSkippingEnvironment) -> None:
    """Absent, and its time has passed while it was looked for."""
    now = await world.now()
    world.fakes.sends = [UNKNOWN]

    report = await world.report(
        {**REQUEST, "expires_at": (now + timedelta(seconds=45)).isoformat()}
    )

    assert (Outcome.EXPIRED, FailureClass.OUTCOME_UNKNOWN, 1) == (
        report.outcome,
        report.failure_class,
        len(world.fakes.posts),
    )


@pytest.mark.parametrize(
    ("finding", "outcome", "opens_dead_letter"),
    [
        (NeverSubmitted(), Outcome.CANCELED, False),
        (Absent(), Outcome.UNCONFIRMED, True),
        (Ambiguous(), Outcome.UNCONFIRMED, True),
    ],
)
async def test_canceling_during_an_unknown_outcome(
    world: TimeSkippingEnvironment,
    finding: NeverSubmitted | Absent | Ambiguous,
    outcome: Outcome,
    *,
    opens_dead_letter: bool,
) -> None:
    """Nothing is sent again; it is canceled for certain only if no POST was made."""
    world.fakes.sends = [UNKNOWN]
    world.fakes.searches = [finding] * MAX_SEARCHES
    handle = await world.start()
    await world.until(lambda: len(world.fakes.posts) == 1)
    update = await handle.start_update("cancel", wait_for_stage=WorkflowUpdateStage.ACCEPTED)
    report = await handle.result()

    answer = await update.result()
    assert (outcome is Outcome.CANCELED, outcome) == (answer["canceled"], answer["status"])
    assert (outcome, 1) == (report.outcome, len(world.fakes.posts))
    assert opens_dead_letter == (report.dead_letter_id is not None)


async def test_earlier_sids_are_not_taken_for_the_new_one(world: TimeSkippingEnvironment) -> None:
    """A later try that gets lost is not mistaken for the first one, which has the same text."""
    world.fakes.sends = [accept(1), UNKNOWN]
    world.fakes.searches = [_found(2, "delivered")]
    handle = await world.submitted()
    await callback(handle, "undelivered", code=30003)

    report = await handle.result()

    assert (sid(2), (sid(1),)) == (report.message_sid, world.fakes.searched[0].own_sids)
