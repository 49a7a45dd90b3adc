"""A message that a limit has no place for waits, for a window at most; a duplicate ends at once."""

from datetime import timedelta

from signedfor.advice import what_to_do
from signedfor.contract import (
    DETAILS_QUERY,
    PROGRESS_QUERY,
    DeadLetterDetails,
    MessageReport,
    Outcome,
    Progress,
    Stage,
    dead_letter_workflow_id,
)
from signedfor.contract.failures import FailureClass
from signedfor.message_activities import Paused, StatusResult
from tests.histories.recording import reaches
from tests.workflows.fakes import (
    POLICY,
    REQUEST,
    TimeSkippingEnvironment,
    accept,
    deferred,
    failure,
    limited,
    refuse,
)

HOUR = timedelta(hours=1)


async def _dead_letter(env: TimeSkippingEnvironment, report: MessageReport) -> DeadLetterDetails:
    handle = env.client.get_workflow_handle(dead_letter_workflow_id(report.message_id))
    found: DeadLetterDetails = await handle.query(DETAILS_QUERY, result_type=DeadLetterDetails)
    return found


async def test_it_waits_for_a_place_and_is_sent(env: TimeSkippingEnvironment) -> None:
    """It queues again then. The wait is no attempt and does not use up the retry budget."""
    env.fakes.sends = [
        refuse(deferred(HOUR)),
        refuse(limited(20 * HOUR)),
        refuse(limited(3 * HOUR)),
        accept(),
    ]
    env.fakes.statuses = [StatusResult(status="delivered")]

    report = await env.report(REQUEST)

    assert (Outcome.DELIVERED, 1) == (report.outcome, report.attempts)
    _, second, third, last = env.fakes.posts
    assert third.requested_at - second.requested_at >= 19.9 * HOUR
    assert last.requested_at - third.requested_at >= 2.9 * HOUR
    assert (False, False) == (last.is_reserved, last.is_retry)
    assert last.requested_at + POLICY.retry_budget == last.deadline


async def test_operators_see_the_rule_and_until_when(env: TimeSkippingEnvironment) -> None:
    """In the progress; test_status_view.py sees the details and the timer's summary."""
    env.fakes.sends = [refuse(limited(20 * HOUR))]
    handle = await env.start()
    await reaches(handle, Stage.WAITING)

    progress = await handle.query(PROGRESS_QUERY, result_type=Progress)
    await handle.execute_update("cancel")

    assert "a place within a limit: person=5/24h" == progress.waiting_for
    assert progress.until is not None
    assert "raise the limit in MESSAGE_LIMITS" in what_to_do(progress)


async def test_it_never_waits_longer_than_a_window(env: TimeSkippingEnvironment) -> None:
    """If others took every place meanwhile, it is a dead letter that names the rule."""
    env.fakes.sends = [refuse(limited(20 * HOUR)), refuse(limited(20 * HOUR)), accept()]

    report = await env.report(REQUEST)

    assert (Outcome.FAILED, FailureClass.LIMIT_REACHED, 0) == (
        report.outcome,
        report.failure_class,
        report.attempts,
    )
    assert "person=5/24h" in report.reason
    assert 2 == len(env.fakes.posts)
    letter = await _dead_letter(env, report)
    assert "raise the limit" in letter.request.advice


async def test_it_waits_once_in_any_case(env: TimeSkippingEnvironment) -> None:
    """The worker that says when a place is free reads a later time than its workflow knows."""
    env.fakes.sends = [refuse(limited(26.1 * HOUR)), accept()]
    env.fakes.statuses = [StatusResult(status="delivered")]

    assert Outcome.DELIVERED is (await env.report(REQUEST)).outcome


async def test_the_window_is_that_of_the_first_denial(env: TimeSkippingEnvironment) -> None:
    """Not even if it then waits for something else."""
    env.fakes.sends = [
        refuse(limited(20 * HOUR)),
        refuse(Paused()),
        refuse(limited(5 * HOUR)),
        refuse(limited(2 * HOUR)),
        accept(),
    ]

    report = await env.report(REQUEST)

    assert FailureClass.LIMIT_REACHED is report.failure_class
    assert 4 == len(env.fakes.posts)


async def test_it_expires_rather_than_wait_in_vain(env: TimeSkippingEnvironment) -> None:
    """It ends at once when there is no place before its time is over."""
    env.fakes.sends = [refuse(limited(20 * HOUR)), accept()]
    expires_at = await env.now() + 19 * HOUR

    report = await env.report({**REQUEST, "expires_at": expires_at.isoformat()})

    assert (Outcome.EXPIRED, None) == (report.outcome, report.failure_class)
    assert 1 == len(env.fakes.posts)
    assert report.finished_at < expires_at


async def test_it_can_be_canceled_while_it_waits(env: TimeSkippingEnvironment) -> None:
    """Nothing was sent."""
    env.fakes.sends = [refuse(limited(20 * HOUR)), accept()]
    handle = await env.start()
    await reaches(handle, Stage.WAITING)

    await handle.execute_update("cancel")
    report = await handle.result()

    assert (Outcome.CANCELED, None) == (report.outcome, report.dead_letter_id)
    assert 1 == len(env.fakes.posts)


async def test_a_duplicate_is_a_dead_letter_that_names_the_other(
    env: TimeSkippingEnvironment,
) -> None:
    """It made no attempt, and says how to send it all the same."""
    env.fakes.sends = [failure(FailureClass.DUPLICATE, duplicate_of="order-6")]

    report = await env.report(REQUEST)

    assert (Outcome.FAILED, FailureClass.DUPLICATE, 0) == (
        report.outcome,
        report.failure_class,
        report.attempts,
    )
    assert "message order-6" in report.reason
    assert 1 == len(env.fakes.posts)
    letter = await _dead_letter(env, report)
    assert "changed text" in letter.request.advice
