"""A submission that was claimed before, after a reset or by another worker, is resolved."""

from datetime import UTC, datetime, timedelta

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
from signedfor.retry import SEND_TIMEOUT
from tests.workflows.fakes import (
    POLICY,
    REQUEST,
    TimeSkippingEnvironment,
    accept,
    callback,
    failure,
    send_result,
    sid,
)

CLAIMED_AT = datetime(2026, 11, 1, 12, tzinfo=UTC)
FOUND = Found(message_sid=sid(7), status="sent", error_code=None, created_at=CLAIMED_AT)


def _already_claimed(request: SendRequest) -> SendResult:
    return send_result(
        request, AlreadyClaimed(claimed_at=CLAIMED_AT), attempts=request.earlier_attempts
    )


def _listed(request: SendRequest) -> SendResult:
    return send_result(request, Listed(), attempts=request.earlier_attempts)


async def test_a_claimed_submission_is_searched_and_not_sent(env: TimeSkippingEnvironment) -> None:
    """The search goes back to the claim, and its result is the message's submission."""
    env.fakes.sends = [_already_claimed]
    env.fakes.searches = [FOUND]
    env.fakes.statuses = [StatusResult(status="delivered")]

    report = await env.report()

    assert (Outcome.DELIVERED, sid(7)) == (report.outcome, report.message_sid)
    assert CLAIMED_AT == env.fakes.search_requests[0].since
    assert 1 == len(env.fakes.posts)
    assert 1 == report.attempts


async def test_what_may_still_be_posted_is_searched_after_it_has_ended(
    env: TimeSkippingEnvironment,
) -> None:
    """The worker that claimed it a moment ago may be slow: a search must not miss its POST."""
    env.fakes.policy = POLICY.model_copy(update={"unknown_wait": timedelta(0)})
    started = env.fakes.claimed_at = await env.now()

    env.fakes.searches = [FOUND]
    env.fakes.statuses = [StatusResult(status="delivered")]
    handle = await env.start()
    await handle.result()

    [search] = [
        event.event_time.ToDatetime(tzinfo=UTC)
        for event in (await handle.fetch_history()).events
        if event.activity_task_scheduled_event_attributes.activity_type.name == "find_message"
    ]
    assert search - started >= SEND_TIMEOUT


async def test_an_expired_message_that_was_claimed_is_resolved_first(
    env: TimeSkippingEnvironment,
) -> None:
    """Reset after its time: it is not reported as expired if it was delivered in time."""
    env.fakes.claimed_at = CLAIMED_AT
    env.fakes.searches = [FOUND]
    env.fakes.statuses = [StatusResult(status="delivered")]
    now = await env.now()

    report = await env.report({**REQUEST, "expires_at": (now + timedelta(seconds=1)).isoformat()})

    assert Outcome.DELIVERED is report.outcome


async def test_each_intended_submission_has_its_own_number(env: TimeSkippingEnvironment) -> None:
    """A resend after an unknown outcome, or after a failed delivery, is another submission."""
    env.fakes.sends = [
        failure(FailureClass.TEMPORARILY_UNAVAILABLE),
        failure(FailureClass.OUTCOME_UNKNOWN),
        accept(1),
        accept(2),
    ]
    handle = await env.start()
    await env.until(lambda: len(env.fakes.posts) == 2)
    await env.sleep(timedelta(minutes=2))
    await env.until(lambda: len(env.fakes.posts) == 3)
    await callback(handle, "undelivered", number=1, code=30003)
    await env.sleep(timedelta(hours=5))
    await env.until(lambda: len(env.fakes.posts) == 4)
    await callback(handle, "delivered", number=2)
    await handle.result()

    # The first request is retried by the policy: two attempts of one submission.
    assert [1, 1, 2, 3] == [each.submission for each in env.fakes.posts]


async def test_what_was_never_submitted_keeps_its_number(env: TimeSkippingEnvironment) -> None:
    """The lost worker may still be alive: whichever of the two claims first makes the POST."""
    env.fakes.sends = [failure(FailureClass.OUTCOME_UNKNOWN), accept()]
    env.fakes.searches = [NeverSubmitted()]
    env.fakes.statuses = [StatusResult(status="delivered")]

    report = await env.report()

    assert Outcome.DELIVERED is report.outcome
    assert [1, 1] == [each.submission for each in env.fakes.posts]


async def test_a_resend_is_resolved_if_twilio_lists_an_earlier_post(
    env: TimeSkippingEnvironment,
) -> None:
    """It was not listed at the searches and is listed now: it is found and not sent again."""
    env.fakes.sends = [
        failure(FailureClass.OUTCOME_UNKNOWN),
        _listed,
    ]
    env.fakes.searches = [Absent(), Absent(listed_sids=(sid(3),)), FOUND]
    env.fakes.statuses = [StatusResult(status="delivered")]

    report = await env.report()

    first, second = env.fakes.posts
    assert (Outcome.DELIVERED, sid(7)) == (report.outcome, report.message_sid)
    assert (None, ()) == (first.unresolved_since, first.listed_sids)
    assert (env.fakes.search_requests[0].since, (sid(3),)) == (
        second.unresolved_since,
        second.listed_sids,
    )
    assert [1, 1, 1] == [each.unresolved_from for each in env.fakes.search_requests]


async def test_a_listed_message_of_another_does_not_count_as_a_resend(
    env: TimeSkippingEnvironment,
) -> None:
    """No POST was made, so the next attempt is for the same submission."""
    env.fakes.sends = [
        failure(FailureClass.OUTCOME_UNKNOWN),
        _listed,
        accept(),
    ]
    env.fakes.statuses = [StatusResult(status="delivered")]

    report = await env.report()

    assert Outcome.DELIVERED is report.outcome
    assert [1, 2, 2] == [each.submission for each in env.fakes.posts]


async def test_the_report_says_how_often_it_may_have_arrived(
    env: TimeSkippingEnvironment,
) -> None:
    """Sent again twice, and none confirmed: the recipient may have all three."""
    env.fakes.sends = [failure(FailureClass.OUTCOME_UNKNOWN)]

    report = await env.report()

    assert Outcome.UNCONFIRMED is report.outcome
    assert 3 == len(env.fakes.posts)
    assert (
        "It had been sent again 2 times. Twilio confirmed none of the 3 submissions, and the "
        "recipient may have any or all of them."
    ) == report.reason


async def test_a_confirmed_submission_ends_the_count(env: TimeSkippingEnvironment) -> None:
    """Only submissions after the last one that Twilio confirmed are reported as unconfirmed."""
    unknown = failure(FailureClass.OUTCOME_UNKNOWN)
    env.fakes.sends = [unknown, accept(1), unknown]
    handle = await env.start()
    await env.until(lambda: len(env.fakes.posts) == 1)
    await env.sleep(timedelta(minutes=2))
    await env.until(lambda: len(env.fakes.posts) == 2)
    await callback(handle, "undelivered", number=1, code=30003)

    report = await handle.result()

    assert [1, 2, 3, 4, 5] == [each.submission for each in env.fakes.posts]
    assert "none of the 3 submissions" in report.reason
    # Twilio may list the first one by now.
    assert all(each.unresolved_since for each in env.fakes.posts[1:])
