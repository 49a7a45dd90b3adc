"""The retry policy in the workflow, and the outcome of each failure class."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.client import Client, WorkflowFailureError

from signedfor.contract import (
    DeadLetterOutcome,
    Outcome,
    dead_letter_workflow_id,
)
from signedfor.contract.failures import RETRYABLE, FailureClass
from signedfor.message_activities import SendRequest, SendResult, StatusResult
from signedfor.retry import QUICK_ATTEMPTS
from tests.histories.recording import reaches
from tests.workflows.fakes import (
    POLICY,
    REQUEST,
    Environment,
    FakeActivities,
    TimeSkippingEnvironment,
    accept,
    callback,
    failure,
    serving,
)

SECOND = timedelta(seconds=1)
TEMPORARY = FailureClass.TEMPORARILY_UNAVAILABLE
TERMINAL_AT_ONCE = sorted(set(FailureClass) - RETRYABLE - {FailureClass.OUTCOME_UNKNOWN})


async def test_temporary_failures_are_retried_until_twilio_accepts(
    env: TimeSkippingEnvironment,
) -> None:
    """Requests that Twilio did not process (20429) are sent again."""
    env.fakes.sends = [failure(TEMPORARY, code=20429), failure(TEMPORARY), accept()]
    env.fakes.statuses = [StatusResult(status="delivered")]

    report = await env.report()

    assert (Outcome.DELIVERED, 3) == (report.outcome, report.attempts)
    assert 3 == len(env.fakes.posts)


async def test_a_long_retry_is_shown_as_retrying_and_goes_on(
    env: TimeSkippingEnvironment,
) -> None:
    """After the quick attempts its status is `retrying`, with Twilio's code, and it goes on."""
    many = QUICK_ATTEMPTS + 6
    env.fakes.sends = [failure(TEMPORARY, code=20429)] * many + [accept()]
    env.fakes.statuses = [StatusResult(status="delivered")]
    handle = await env.start()

    report = await handle.result()

    assert (Outcome.DELIVERED, many + 1) == (report.outcome, report.attempts)
    history = await handle.fetch_history()
    upserts = [
        event.upsert_workflow_search_attributes_event_attributes.search_attributes.indexed_fields
        for event in history.events
        if event.HasField("upsert_workflow_search_attributes_event_attributes")
    ]
    assert (b'"retrying"', b"20429") == (
        upserts[0]["MessageStatus"].data,
        upserts[0]["TwilioErrorCode"].data,
    )


async def test_a_full_sender_queue_is_waited_out(env: TimeSkippingEnvironment) -> None:
    """21611 requires more than a minute: the workflow waits, and the message is sent."""
    env.fakes.sends = [
        failure(TEMPORARY, code=21611, retry_after=timedelta(seconds=70), final=True),
        accept(),
    ]
    started = await env.now()
    handle = await env.start()
    await env.until(lambda: len(env.fakes.posts) == 1)
    await env.sleep(timedelta(seconds=80))
    await callback(handle, "delivered")

    report = await handle.result()

    assert (Outcome.DELIVERED, 2) == (report.outcome, report.attempts)
    assert report.finished_at - started >= timedelta(seconds=70)


async def test_retries_end_with_the_budget_in_a_dead_letter(env: TimeSkippingEnvironment) -> None:
    """A message that Twilio does not accept for four hours fails."""
    env.fakes.sends = [failure(TEMPORARY, code=20429, retry_after=timedelta(minutes=2))]

    report = await env.report(message_id="no-luck")

    assert (Outcome.FAILED, TEMPORARY, 20429) == (
        report.outcome,
        report.failure_class,
        report.error_code,
    )
    assert dead_letter_workflow_id("no-luck") == report.dead_letter_id
    assert report.attempts > QUICK_ATTEMPTS


async def test_retries_end_when_the_message_expires(env: TimeSkippingEnvironment) -> None:
    """There is no attempt after `expires_at`; failed attempts before it open a dead letter."""
    now = await env.now()
    env.fakes.sends = [failure(TEMPORARY, code=20429, retry_after=timedelta(seconds=20))]

    report = await env.report(
        {**REQUEST, "expires_at": (now + timedelta(minutes=5)).isoformat()}, message_id="brief"
    )

    assert (Outcome.EXPIRED, TEMPORARY, dead_letter_workflow_id("brief")) == (
        report.outcome,
        report.failure_class,
        report.dead_letter_id,
    )
    assert report.finished_at <= now + timedelta(minutes=6)


@pytest.mark.parametrize("failure_class", TERMINAL_AT_ONCE)
async def test_a_terminal_failure_is_not_retried(
    env: TimeSkippingEnvironment, failure_class: FailureClass
) -> None:
    """Each terminal class leads to exactly one POST, the outcome failed and a dead letter."""
    env.fakes.sends = [failure(failure_class, code=21606)]

    report = await env.report(message_id=f"terminal-{failure_class}")

    assert (Outcome.FAILED, failure_class, 21606, 1) == (
        report.outcome,
        report.failure_class,
        report.error_code,
        report.attempts,
    )
    assert 1 == len(env.fakes.posts)
    assert dead_letter_workflow_id(report.message_id) == report.dead_letter_id


@pytest.mark.parametrize(
    "failure_class", [FailureClass.RECIPIENT_OPTED_OUT, FailureClass.RECIPIENT_UNREACHABLE]
)
async def test_an_opt_out_or_dead_number_is_recorded_and_the_dead_letter_closed(
    env: TimeSkippingEnvironment, failure_class: FailureClass
) -> None:
    """It becomes a suppression, and no operator has to act."""
    env.fakes.sends = [failure(failure_class, code=21610)]

    report = await env.report()
    dead_letter = env.client.get_workflow_handle(report.dead_letter_id or "")

    assert DeadLetterOutcome.RECORDED == (await dead_letter.result())["outcome"]
    assert [(failure_class, 21610, REQUEST["to"])] == [
        (each.failure_class, each.error_code, each.to) for each in env.fakes.suppressions
    ]


async def test_a_message_without_any_sender_is_bad_input(env: TimeSkippingEnvironment) -> None:
    """Without `from` and without a default it fails at once and names the field."""
    with pytest.raises(WorkflowFailureError) as failed:
        await env.report({"to": REQUEST["to"], "body": "x"})

    assert "from: is needed" in str(failed.value.cause)


async def test_the_budget_ends_while_no_worker_is_running(temporal: Client) -> None:
    """The next worker ends the message; nothing is scheduled in the past."""
    fakes = FakeActivities()
    fakes.policy = POLICY.model_copy(update={"retry_budget": timedelta(seconds=3)})
    fakes.sends = [failure(TEMPORARY, code=21611, retry_after=2 * SECOND, final=True), accept()]
    env = Environment(temporal, fakes)
    async with serving(temporal, fakes):
        handle = await env.start()
        await env.until(lambda: len(fakes.posts) == 1)
        await reaches(handle, "retrying")
    deadline = fakes.posts[0].requested_at + fakes.policy.retry_budget
    await env.until(lambda: datetime.now(UTC) > deadline)
    async with serving(temporal, fakes):
        report = await handle.result()

    assert (Outcome.FAILED, TEMPORARY, 21611, 1) == (
        report.outcome,
        report.failure_class,
        report.error_code,
        report.attempts,
    )
    assert 1 == len(fakes.posts)


async def test_a_message_expires_while_no_worker_is_running(
    temporal: Client,
) -> None:
    """A message that was waiting for its reserved time ends as expired with the next worker."""
    fakes = FakeActivities()
    env = Environment(temporal, fakes)
    fakes.reserved_at = datetime.now(UTC) + 6 * SECOND
    expires_at = fakes.reserved_at + SECOND
    async with serving(temporal, fakes):
        handle = await env.start({**REQUEST, "expires_at": expires_at.isoformat()})
        await reaches(handle, "waiting")
    await env.until(lambda: datetime.now(UTC) > expires_at)
    async with serving(temporal, fakes):
        report = await handle.result()

    assert (Outcome.EXPIRED, 0, None) == (report.outcome, report.attempts, report.dead_letter_id)
    assert [] == fakes.posts


async def test_a_slow_failed_attempt_counts(temporal: Client) -> None:
    """Twilio could not be reached for seconds: that was an attempt, and the next one is a retry."""
    failed = failure(TEMPORARY, code=20429)

    def slow(request: SendRequest) -> SendResult:
        threading.Event().wait(4)
        return failed(request)

    fakes = FakeActivities(sends=[slow, accept()])
    env = Environment(temporal, fakes)
    async with serving(temporal, fakes):
        handle = await env.start()
        await env.until(lambda: len(fakes.posts) == 2)
        await callback(handle, "delivered")
        report = await handle.result()

    assert (Outcome.DELIVERED, 2) == (report.outcome, report.attempts)
