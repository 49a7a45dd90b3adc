"""The declarative retry policy at work, and what each failure class leads to."""

from datetime import UTC, datetime, timedelta

import pytest
from temporalio.client import Client, WorkflowFailureError

from signedfor.contract import DeadLetterOutcome, Outcome, dead_letter_workflow_id
from signedfor.contract.failures import RETRYABLE, FailureClass
from signedfor.message_activities import StatusResult
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


async def test_429_twice_and_then_delivered(world: TimeSkippingEnvironment) -> None:
    """What Twilio has not processed is sent again until it takes it."""
    world.fakes.sends = [failure(TEMPORARY, code=20429), failure(TEMPORARY), accept()]
    world.fakes.statuses = [StatusResult(status="delivered")]

    report = await world.report()

    assert (Outcome.DELIVERED, 3) == (report.outcome, report.attempts)
    assert 3 == len(world.fakes.posts)


async def test_a_long_retry_is_shown_as_retrying_and_goes_on(
    world: TimeSkippingEnvironment,
) -> None:
    """After the quick tries the message stands at `retrying`, with Twilio's code, and goes on."""
    many = QUICK_ATTEMPTS + 6
    world.fakes.sends = [failure(TEMPORARY, code=20429)] * many + [accept()]
    world.fakes.statuses = [StatusResult(status="delivered")]
    handle = await world.start()

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


async def test_a_full_sender_queue_is_waited_out(world: TimeSkippingEnvironment) -> None:
    """21611 asks for a minute and more: the wait is the workflow's, and the message is sent."""
    world.fakes.sends = [
        failure(TEMPORARY, code=21611, retry_after=timedelta(seconds=70), final=True),
        accept(),
    ]
    begins = await world.now()
    handle = await world.start()
    await world.until(lambda: len(world.fakes.posts) == 1)
    await world.sleep(timedelta(seconds=80))
    await callback(handle, "delivered")

    report = await handle.result()

    assert (Outcome.DELIVERED, 2) == (report.outcome, report.attempts)
    assert report.finished_at - begins >= timedelta(seconds=70)


async def test_retries_end_with_the_budget_in_a_dead_letter(world: TimeSkippingEnvironment) -> None:
    """What Twilio cannot take for four hours fails and is held for a decision."""
    world.fakes.sends = [failure(TEMPORARY, code=20429, retry_after=timedelta(minutes=2))]

    report = await world.report(message_id="no-luck")

    assert (Outcome.FAILED, TEMPORARY, 20429) == (
        report.outcome,
        report.failure_class,
        report.error_code,
    )
    assert dead_letter_workflow_id("no-luck") == report.dead_letter_id
    assert report.attempts > QUICK_ATTEMPTS


async def test_retries_end_when_the_message_expires(world: TimeSkippingEnvironment) -> None:
    """Nothing is tried past `expires_at`; failed tries before it leave a dead letter."""
    now = await world.now()
    world.fakes.sends = [failure(TEMPORARY, code=20429, retry_after=timedelta(seconds=20))]

    report = await world.report(
        {**REQUEST, "expires_at": (now + timedelta(minutes=5)).isoformat()}, message_id="brief"
    )

    assert (Outcome.EXPIRED, TEMPORARY, dead_letter_workflow_id("brief")) == (
        report.outcome,
        report.failure_class,
        report.dead_letter_id,
    )
    assert report.finished_at <= now + timedelta(minutes=6)


@pytest.mark.parametrize("failure_class", TERMINAL_AT_ONCE)
async def test_a_terminal_class_is_tried_once_and_escalated(
    world: TimeSkippingEnvironment, failure_class: FailureClass
) -> None:
    """Every terminal class: exactly one POST, outcome failed, a dead letter."""
    world.fakes.sends = [failure(failure_class, code=21606)]

    report = await world.report(message_id=f"terminal-{failure_class}")

    assert (Outcome.FAILED, failure_class, 21606, 1) == (
        report.outcome,
        report.failure_class,
        report.error_code,
        report.attempts,
    )
    assert 1 == len(world.fakes.posts)
    assert dead_letter_workflow_id(report.message_id) == report.dead_letter_id


@pytest.mark.parametrize(
    "failure_class", [FailureClass.RECIPIENT_OPTED_OUT, FailureClass.RECIPIENT_UNREACHABLE]
)
async def test_a_recipient_at_fault_is_recorded_and_the_letter_closed(
    world: TimeSkippingEnvironment, failure_class: FailureClass
) -> None:
    """An opt-out or a dead number becomes a suppression; nobody has to decide anything."""
    world.fakes.sends = [failure(failure_class, code=21610)]

    report = await world.report()
    letter = world.client.get_workflow_handle(report.dead_letter_id or "")

    assert DeadLetterOutcome.RECORDED == (await letter.result())["outcome"]
    assert [(failure_class, 21610, REQUEST["to"])] == [
        (each.failure_class, each.error_code, each.to) for each in world.fakes.recorded
    ]


async def test_no_sender_at_all_is_bad_input(world: TimeSkippingEnvironment) -> None:
    """Without `from` and without a default the message fails at once and says what to give."""
    with pytest.raises(WorkflowFailureError) as failed:
        await world.report({"to": REQUEST["to"], "body": "x"})

    assert "from: is needed" in str(failed.value.cause)


async def test_workers_that_are_away_past_the_budget(temporal: Client) -> None:
    """Back after the budget has ended, they end the message; nothing is scheduled in the past."""
    fakes = FakeActivities()
    fakes.policy = POLICY.model_copy(update={"retry_budget": timedelta(seconds=3)})
    fakes.sends = [failure(TEMPORARY, code=21611, retry_after=2 * SECOND, final=True), accept()]
    world = Environment(temporal, fakes)
    async with serving(temporal, fakes):
        handle = await world.start()
        await world.until(lambda: len(fakes.posts) == 1)
        await reaches(handle, "retrying")
    await world.until(lambda: datetime.now(UTC) > fakes.posts[0].deadline)
    async with serving(temporal, fakes):
        report = await handle.result()

    assert (Outcome.FAILED, TEMPORARY, 21611, 1) == (
        report.outcome,
        report.failure_class,
        report.error_code,
        report.attempts,
    )
    assert 1 == len(fakes.posts)


async def test_workers_that_are_away_past_its_time(temporal: Client) -> None:
    """Back after its time has passed, they let a message expire that only waited for its slot."""
    fakes = FakeActivities()
    world = Environment(temporal, fakes)
    fakes.reserved_at = datetime.now(UTC) + 6 * SECOND
    expires_at = fakes.reserved_at + SECOND
    async with serving(temporal, fakes):
        handle = await world.start({**REQUEST, "expires_at": expires_at.isoformat()})
        await reaches(handle, "waiting")
    await world.until(lambda: datetime.now(UTC) > expires_at)
    async with serving(temporal, fakes):
        report = await handle.result()

    assert (Outcome.EXPIRED, 0, None) == (report.outcome, report.attempts, report.dead_letter_id)
    assert [] == fakes.posts
