"""A submission that was claimed before, after a reset or by another worker, is resolved."""

from datetime import UTC, datetime, timedelta

import pytest

from signedfor.contract import Outcome
from signedfor.contract.failures import FailureClass
from signedfor.message_activities import (
    Absent,
    AlreadyClaimed,
    Found,
    Listed,
    NeverSubmitted,
    SendRequest,
    SendResult,
    StatusResult,
)
from tests.workflows.fakes import (
    REQUEST,
    TimeSkippingEnvironment,
    accept,
    callback,
    failure,
    sid,
)

CLAIMED_AT = datetime(2026, 11, 1, 12, tzinfo=UTC)
FOUND = Found(message_sid=sid(7), status="sent", error_code=None, created_at=CLAIMED_AT)


def _already_claimed(request: SendRequest) -> SendResult:
    return SendResult(
        attempts=request.earlier_attempts, decision=AlreadyClaimed(claimed_at=CLAIMED_AT)
    )


@pytest.mark.parametrize("at", ["admission", "send"])
async def test_a_claimed_submission_is_searched_and_not_sent(
    world: TimeSkippingEnvironment, at: str
) -> None:
    """The search goes back to the claim, and its result is the message's submission."""
    if at == "admission":
        world.fakes.claimed_at = CLAIMED_AT
    else:
        world.fakes.sends = [_already_claimed]
    world.fakes.searches = [FOUND]
    world.fakes.statuses = [StatusResult(status="delivered")]

    report = await world.report()

    assert (Outcome.DELIVERED, sid(7)) == (report.outcome, report.message_sid)
    assert CLAIMED_AT == world.fakes.searched[0].since
    assert int(at == "send") == len(world.fakes.posts)
    assert 0 == report.attempts, "no POST of this run"


async def test_an_expired_message_that_was_claimed_is_resolved_first(
    world: TimeSkippingEnvironment,
) -> None:
    """Reset after its time: it is not reported as expired if it was delivered in time."""
    world.fakes.claimed_at = CLAIMED_AT
    world.fakes.searches = [FOUND]
    world.fakes.statuses = [StatusResult(status="delivered")]
    now = await world.now()

    report = await world.report({**REQUEST, "expires_at": (now + timedelta(seconds=1)).isoformat()})

    assert Outcome.DELIVERED is report.outcome


async def test_each_intended_submission_has_its_own_number(world: TimeSkippingEnvironment) -> None:
    """A resend after an unknown outcome, or after a failed delivery, is another submission."""
    world.fakes.sends = [
        failure(FailureClass.TEMPORARILY_UNAVAILABLE),
        failure(FailureClass.OUTCOME_UNKNOWN),
        accept(1),
        accept(2),
    ]
    handle = await world.start()
    await world.until(lambda: len(world.fakes.posts) == 2)
    await world.sleep(timedelta(minutes=2))
    await world.until(lambda: len(world.fakes.posts) == 3)
    await callback(handle, "undelivered", number=1, code=30003)
    await world.sleep(timedelta(hours=5))
    await world.until(lambda: len(world.fakes.posts) == 4)
    await callback(handle, "delivered", number=2)
    await handle.result()

    # The first request is retried by the policy: two attempts of one submission.
    assert [1, 1, 2, 3] == [each.submission for each in world.fakes.posts]


async def test_what_was_never_submitted_keeps_its_number(world: TimeSkippingEnvironment) -> None:
    """The lost worker may still be alive: whichever of the two claims first makes the POST."""
    world.fakes.sends = [failure(FailureClass.OUTCOME_UNKNOWN), accept()]
    world.fakes.searches = [NeverSubmitted()]
    world.fakes.statuses = [StatusResult(status="delivered")]

    report = await world.report()

    assert Outcome.DELIVERED is report.outcome
    assert [1, 1] == [each.submission for each in world.fakes.posts]


async def test_a_resend_is_resolved_if_twilio_lists_an_earlier_post(
    world: TimeSkippingEnvironment,
) -> None:
    """It was not listed at the searches and is listed now: it is found and not sent again."""
    world.fakes.sends = [
        failure(FailureClass.OUTCOME_UNKNOWN),
        lambda request: SendResult(attempts=request.earlier_attempts, decision=Listed()),
    ]
    world.fakes.searches = [Absent(), Absent(listed_sids=(sid(3),)), FOUND]
    world.fakes.statuses = [StatusResult(status="delivered")]

    report = await world.report()

    first, second = world.fakes.posts
    assert (Outcome.DELIVERED, sid(7)) == (report.outcome, report.message_sid)
    assert (None, ()) == (first.unresolved_since, first.listed_sids)
    assert (world.fakes.searched[0].since, (sid(3),)) == (
        second.unresolved_since,
        second.listed_sids,
    )
    assert [1, 1, 1] == [each.unresolved_from for each in world.fakes.searched]


async def test_a_listed_message_of_another_does_not_count_as_a_resend(
    world: TimeSkippingEnvironment,
) -> None:
    """No POST was made, so the next attempt is for the same submission."""
    world.fakes.sends = [
        failure(FailureClass.OUTCOME_UNKNOWN),
        lambda request: SendResult(attempts=request.earlier_attempts, decision=Listed()),
        accept(),
    ]
    world.fakes.statuses = [StatusResult(status="delivered")]

    report = await world.report()

    assert Outcome.DELIVERED is report.outcome
    assert [1, 2, 2] == [each.submission for each in world.fakes.posts]


async def test_the_report_says_how_often_it_may_have_arrived(
    world: TimeSkippingEnvironment,
) -> None:
    """Sent again twice, and none confirmed: the recipient may have all three."""
    world.fakes.sends = [failure(FailureClass.OUTCOME_UNKNOWN)]

    report = await world.report()

    assert Outcome.UNCONFIRMED is report.outcome
    assert 3 == len(world.fakes.posts)
    assert (
        "It had been sent again 2 times. Twilio confirmed none of the 3 submissions, and the "
        "recipient may have any or all of them."
    ) == report.reason
