"""A submission that was claimed before, after a reset or by another worker, is resolved."""

from datetime import UTC, datetime, timedelta

import pytest
from temporalio.exceptions import ApplicationError

from signedfor.contract import (
    CANCEL_UPDATE,
    PROGRESS_QUERY,
    CancelResult,
    Outcome,
    Progress,
    Stage,
)
from signedfor.contract.failures import FailureClass
from signedfor.message_activities import (
    Absent,
    AlreadyClaimed,
    Deferred,
    Found,
    Listed,
    NeverSubmitted,
    SendRequest,
    SendResult,
    StatusResult,
)
from signedfor.retry import SEND_TIMEOUT
from tests.histories.recording import reaches
from tests.workflows.fakes import (
    RECIPIENT,
    REQUEST,
    SENDER,
    TimeSkippingEnvironment,
    accept,
    callback,
    failure,
    refuse,
    send_result,
    sid,
)

SECOND = timedelta(seconds=1)

CLAIMED_AT = datetime(2026, 11, 1, 12, tzinfo=UTC)
FOUND = Found(message_sid=sid(7), status="sent", error_code=None, created_at=CLAIMED_AT)


@pytest.mark.parametrize("attempts", [1, 4])
async def test_a_claimed_submission_is_searched_and_not_sent(
    env: TimeSkippingEnvironment, attempts: int
) -> None:
    """The search goes back to the claim, and its result is the message's submission."""
    env.fakes.sends = [refuse(AlreadyClaimed(claimed_at=CLAIMED_AT, attempts=attempts))]
    env.fakes.searches = [FOUND]
    env.fakes.statuses = [StatusResult(status="delivered")]

    report = await env.report()

    assert (Outcome.DELIVERED, sid(7)) == (report.outcome, report.message_sid)
    assert CLAIMED_AT == env.fakes.search_requests[0].since
    assert 1 == len(env.fakes.requests)
    assert attempts == report.attempts, "those of the earlier run"


@pytest.mark.parametrize(
    ("unknown_wait", "waits"), [(1 * SECOND, SEND_TIMEOUT), (60 * SECOND, 60 * SECOND)]
)
async def test_the_first_search_follows_the_end_of_the_claims_post(
    env: TimeSkippingEnvironment, unknown_wait: timedelta, waits: timedelta
) -> None:
    """The worker that claimed it may be about to make its POST: until then none is listed."""
    env.fakes.policy = env.fakes.policy.model_copy(update={"unknown_wait": unknown_wait})
    env.fakes.sends = [refuse(lambda request: AlreadyClaimed(claimed_at=request.requested_at))]
    env.fakes.searches = [FOUND]
    handle = await env.start()
    await reaches(handle, Stage.RESOLVING)
    progress = await handle.query(PROGRESS_QUERY, result_type=Progress)
    await env.until(lambda: bool(env.fakes.requests))

    claimed_at = env.fakes.requests[0].requested_at
    assert progress.until is not None
    assert progress.until - claimed_at - waits < SECOND
    assert [] == env.fakes.search_requests
    await env.sleep(progress.until - await env.now() + SECOND)
    await env.until(lambda: len(env.fakes.search_requests) == 1)
    await callback(handle, "delivered", number=7)
    report = await handle.result()

    assert sid(7) == report.message_sid
    assert progress.until >= claimed_at + waits


async def test_an_expired_message_that_was_claimed_is_resolved_first(
    env: TimeSkippingEnvironment,
) -> None:
    """Reset after its time: it is not reported as expired if it was delivered in time."""
    env.fakes.claimed_at = CLAIMED_AT
    env.fakes.searches = [FOUND]
    env.fakes.statuses = [StatusResult(status="delivered")]
    expired = (await env.now() - timedelta(hours=1)).isoformat()

    report = await env.report({**REQUEST, "expires_at": expired})

    assert (Outcome.DELIVERED, sid(7)) == (report.outcome, report.message_sid)
    assert [] == env.fakes.posts


@pytest.mark.parametrize("is_claimed", [True, False])
async def test_a_message_that_is_canceled_before_an_attempt_may_have_been_sent_before(
    env: TimeSkippingEnvironment, *, is_claimed: bool
) -> None:
    """A reset repeats a cancel that came after the POST, and begins with it."""
    env.fakes.claimed_at = CLAIMED_AT if is_claimed else None
    env.fakes.searches = [FOUND]
    env.fakes.statuses = [StatusResult(status="delivered")]
    send_at = (await env.now() + timedelta(hours=1)).isoformat()
    handle = await env.start({**REQUEST, "send_at": send_at})
    await reaches(handle, Stage.SCHEDULED)

    result = await handle.execute_update(CANCEL_UPDATE, result_type=CancelResult)
    report = await handle.result()

    assert is_claimed != result.canceled
    assert (Outcome.DELIVERED if is_claimed else Outcome.CANCELED) is report.outcome
    assert [] == env.fakes.posts
    assert [1] == [each.submission for each in env.fakes.claim_queries]


@pytest.mark.parametrize("is_claimed", [True, False])
async def test_a_message_that_expires_while_it_waits_may_have_been_sent_before(
    env: TimeSkippingEnvironment, *, is_claimed: bool
) -> None:
    """A reset during the wait, after the earlier run had sent it, ends with the wait."""
    expires_at = await env.now() + timedelta(minutes=30)

    def defer_and_claim(request: SendRequest) -> SendResult:
        env.fakes.claimed_at = CLAIMED_AT if is_claimed else None
        return send_result(
            request, Deferred(reserved_at=expires_at + timedelta(minutes=1)), attempts=0
        )

    env.fakes.sends = [defer_and_claim]
    env.fakes.searches = [FOUND]
    env.fakes.statuses = [StatusResult(status="delivered")]

    report = await env.report({**REQUEST, "expires_at": expires_at.isoformat()})

    assert (Outcome.DELIVERED if is_claimed else Outcome.EXPIRED) is report.outcome


@pytest.mark.parametrize("is_claimed", [True, False])
async def test_a_message_whose_retry_budget_is_over_may_have_been_sent_before(
    env: TimeSkippingEnvironment, *, is_claimed: bool
) -> None:
    """It was reset after a failed attempt, and the new run begins when no time is left."""

    def fail_and_claim(request: SendRequest) -> SendResult:
        env.fakes.claimed_at = CLAIMED_AT if is_claimed else None
        return failure(
            FailureClass.TEMPORARILY_UNAVAILABLE, retry_after=timedelta(hours=9), final=True
        )(request)

    env.fakes.sends = [fail_and_claim]
    env.fakes.searches = [FOUND]
    env.fakes.statuses = [StatusResult(status="delivered")]

    report = await env.report()

    assert (Outcome.DELIVERED if is_claimed else Outcome.FAILED) is report.outcome


async def test_an_unknown_outcome_without_a_sender_is_found_by_its_claim(
    env: TimeSkippingEnvironment,
) -> None:
    """The first attempt never reported which sender it used: the next one finds its claim."""

    def lost(request: SendRequest) -> SendResult:
        env.fakes.claimed_at = request.requested_at
        raise ApplicationError("without details", type=FailureClass.OUTCOME_UNKNOWN)

    env.fakes.default_sender = SENDER
    env.fakes.sends = [lost]
    env.fakes.searches = [FOUND]
    env.fakes.statuses = [StatusResult(status="delivered")]

    report = await env.report({"to": RECIPIENT, "body": "x"})

    assert (Outcome.DELIVERED, sid(7), 1) == (
        report.outcome,
        report.message_sid,
        report.attempts,
    )
    assert (1, 2) == (len(env.fakes.posts), len(env.fakes.requests))
    assert [(SENDER, env.fakes.claimed_at)] == [
        (each.sender, each.since) for each in env.fakes.search_requests
    ]


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
        refuse(Listed()),
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
        refuse(Listed()),
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
