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


async def test_a_callback_names_the_sid(env: TimeSkippingEnvironment) -> None:
    """A callback carries our message id and the SID: the message goes on, nobody is asked."""
    env.fakes.sends = [UNKNOWN]
    handle = await env.start()
    await env.until(lambda: len(env.fakes.posts) == 1)
    await callback(handle, "delivered", number=7)

    report = await handle.result()

    assert (Outcome.DELIVERED, sid(7), 1) == (
        report.outcome,
        report.message_sid,
        len(env.fakes.posts),
    )
    assert [] == env.fakes.searched


async def test_a_message_found_in_twilios_list_goes_on(env: TimeSkippingEnvironment) -> None:
    """Found: carried on with that SID, not sent again."""
    env.fakes.sends = [UNKNOWN]
    env.fakes.searches = [ABSENT, _found(9)]
    handle = await env.start()
    await env.until(lambda: len(env.fakes.posts) == 1)
    await env.sleep(timedelta(minutes=2))
    await callback(handle, "delivered", number=9)

    report = await handle.result()

    assert (Outcome.DELIVERED, sid(9), 1) == (
        report.outcome,
        report.message_sid,
        len(env.fakes.posts),
    )


async def test_a_message_found_delivered_is_delivered(env: TimeSkippingEnvironment) -> None:
    """What the list says of its status counts as a receipt."""
    env.fakes.sends = [UNKNOWN]
    env.fakes.searches = [_found(9, "delivered")]

    assert Outcome.DELIVERED is (await env.report()).outcome


async def test_a_message_absent_twice_is_sent_again(env: TimeSkippingEnvironment) -> None:
    """Two searches, at least 30 seconds apart, without a trace: then once more."""
    env.fakes.sends = [UNKNOWN, accept(2)]
    begins = await env.now()
    handle = await env.start()
    await env.until(lambda: len(env.fakes.posts) == 1)
    await env.sleep(timedelta(minutes=2))
    await callback(handle, "delivered", number=2)

    report = await handle.result()

    assert (Outcome.DELIVERED, sid(2), 2, 2) == (
        report.outcome,
        report.message_sid,
        len(env.fakes.posts),
        len(env.fakes.searched),
    )
    assert report.finished_at - begins >= timedelta(seconds=60)


async def test_one_absence_is_not_enough(env: TimeSkippingEnvironment) -> None:
    """Twilio may list a message late: the second search finds what the first did not."""
    env.fakes.sends = [UNKNOWN]
    env.fakes.searches = [ABSENT, _found(3, "delivered")]

    report = await env.report()

    assert (Outcome.DELIVERED, 1) == (report.outcome, len(env.fakes.posts))


@pytest.mark.parametrize("request_", [{"on_unknown_outcome": "dead_letter"}, {"priority": "bulk"}])
async def test_park_does_not_send_again(
    env: TimeSkippingEnvironment, request_: dict[str, str]
) -> None:
    """A message that asks to be parked, or is bulk, becomes a dead letter of its own kind."""
    env.fakes.sends = [UNKNOWN]

    report = await env.report({**REQUEST, **request_})

    assert (Outcome.UNCONFIRMED, FailureClass.OUTCOME_UNKNOWN, 1) == (
        report.outcome,
        report.failure_class,
        len(env.fakes.posts),
    )
    assert report.dead_letter_id is not None


@pytest.mark.parametrize("policy", ["dead_letter", "resend"])
async def test_what_was_not_submitted_is_submitted(
    env: TimeSkippingEnvironment, policy: str
) -> None:
    """Its worker died before the POST: that is certain, so it is sent whatever the policy says."""
    env.fakes.sends = [UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, accept(5)]
    env.fakes.searches = [NeverSubmitted()] * 4
    env.fakes.statuses = [StatusResult(status="delivered")]

    report = await env.report({**REQUEST, "on_unknown_outcome": policy})

    assert (Outcome.DELIVERED, sid(5)) == (report.outcome, report.message_sid)
    assert 4 == len(env.fakes.searched), "one search each is enough"


async def test_what_was_not_submitted_expires_as_such(env: TimeSkippingEnvironment) -> None:
    """Nobody needs to look whether Twilio has it."""
    env.fakes.sends = [UNKNOWN, refuse(deferred(timedelta(hours=4)))]
    env.fakes.searches = [NeverSubmitted()]
    expires_at = (await env.now() + timedelta(hours=2)).isoformat()

    report = await env.report({**REQUEST, "expires_at": expires_at})

    assert Outcome.EXPIRED is report.outcome
    assert FailureClass.OUTCOME_UNKNOWN is not report.failure_class


async def test_an_undecided_search_is_repeated_and_then_parked(
    env: TimeSkippingEnvironment,
) -> None:
    """While another message of ours could be the one in the list, nothing is guessed or sent."""
    env.fakes.sends = [UNKNOWN]
    env.fakes.searches = [UNDECIDED] * MAX_SEARCHES

    report = await env.report()

    assert (FailureClass.OUTCOME_UNKNOWN, 1, MAX_SEARCHES) == (
        report.failure_class,
        len(env.fakes.posts),
        len(env.fakes.searched),
    )


async def test_sending_again_ends(env: TimeSkippingEnvironment) -> None:
    """A message that is lost every time is parked after a few resends."""
    env.fakes.sends = [UNKNOWN]

    report = await env.report()

    assert (FailureClass.OUTCOME_UNKNOWN, 1 + MAX_RESENDS) == (
        report.failure_class,
        len(env.fakes.posts),
    )


async def test_an_expired_message_is_not_sent_again(env: TimeSkippingEnvironment) -> None:
    """Absent, and its time has passed while it was looked for."""
    now = await env.now()
    env.fakes.sends = [UNKNOWN]

    report = await env.report({**REQUEST, "expires_at": (now + timedelta(seconds=45)).isoformat()})

    assert (Outcome.EXPIRED, FailureClass.OUTCOME_UNKNOWN, 1) == (
        report.outcome,
        report.failure_class,
        len(env.fakes.posts),
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
    env: TimeSkippingEnvironment,
    finding: NeverSubmitted | Absent | Ambiguous,
    outcome: Outcome,
    *,
    opens_dead_letter: bool,
) -> None:
    """Nothing is sent again; it is canceled for certain only if no POST was made."""
    env.fakes.sends = [UNKNOWN]
    env.fakes.searches = [finding] * MAX_SEARCHES
    handle = await env.start()
    await env.until(lambda: len(env.fakes.posts) == 1)
    update = await handle.start_update("cancel", wait_for_stage=WorkflowUpdateStage.ACCEPTED)
    report = await handle.result()

    answer = await update.result()
    assert (outcome is Outcome.CANCELED, outcome) == (answer["canceled"], answer["status"])
    assert (outcome, 1) == (report.outcome, len(env.fakes.posts))
    assert opens_dead_letter == (report.dead_letter_id is not None)


async def test_earlier_sids_are_not_taken_for_the_new_one(env: TimeSkippingEnvironment) -> None:
    """A later try that gets lost is not mistaken for the first one, which has the same text."""
    env.fakes.sends = [accept(1), UNKNOWN]
    env.fakes.searches = [_found(2, "delivered")]
    handle = await env.submitted()
    await callback(handle, "undelivered", code=30003)

    report = await handle.result()

    assert (sid(2), (sid(1),)) == (report.message_sid, env.fakes.searched[0].own_sids)
