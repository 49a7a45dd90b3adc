"""Twilio turns out to have a message that was thought not to be submitted, or not delivered."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.worker import (
    Interceptor,
    StartChildWorkflowInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

from signedfor.contract import (
    DELIVERY_STATUS_SIGNAL,
    MESSAGES_QUEUE,
    PROGRESS_QUERY,
    SEND_MESSAGE,
    DeadLetterOutcome,
    DeadLetterReport,
    MessageReport,
    Outcome,
    Progress,
    dead_letter_workflow_id,
    message_workflow_id,
)
from signedfor.contract.failures import FailureClass
from signedfor.message_activities import Paused, StatusResult
from tests.workflows.fakes import (
    REQUEST,
    FakeActivities,
    TimeSkippingEnvironment,
    accept,
    callback,
    deferred,
    failure,
    refuse,
    serving,
    sid,
    skipping_time,
    window_closed,
)
from workflows.send_message import SendMessage

UNKNOWN = failure(FailureClass.OUTCOME_UNKNOWN)
TEMPORARY = FailureClass.TEMPORARILY_UNAVAILABLE
MINUTE = timedelta(minutes=1)
FIRST, SECOND = 7, 8


@pytest.mark.parametrize("status", ["sent", "delivered"])
@pytest.mark.parametrize(
    "waits",
    [
        [refuse(deferred(timedelta(hours=2)))],
        [refuse(window_closed(timedelta(hours=2)))],
        [refuse(Paused())],
        [failure(TEMPORARY, retry_after=10 * MINUTE, final=True)],
        [
            failure(TEMPORARY, retry_after=timedelta(seconds=6), final=True),
            failure(TEMPORARY, retry_after=10 * MINUTE),
        ],
    ],
    ids=["slot", "window", "hold", "patience", "retry"],
)
async def test_a_late_callback_stops_a_resend(
    world: TimeSkippingEnvironment, waits: list[Any], status: str
) -> None:
    """Its POST was not found, and while the next one waits a callback names it: nothing is sent."""
    world.fakes.sends = [UNKNOWN, *waits, accept(SECOND)]
    world.fakes.resumes = [None] * 1000
    world.fakes.statuses = [StatusResult(status="delivered")]
    handle = await world.start()
    await world.until(lambda: len(world.fakes.posts) == 1)
    await world.sleep(2 * MINUTE)
    await world.until(lambda: len(world.fakes.posts) == 1 + len(waits))
    await callback(handle, status, number=FIRST)

    report = await handle.result()

    assert (Outcome.DELIVERED, sid(FIRST)) == (report.outcome, report.message_sid)
    assert 1 + len(waits) == len(world.fakes.posts)
    assert 1 == world.fakes.admitted


async def test_a_window_that_stays_closed_is_not_asked_again_and_again(
    world: TimeSkippingEnvironment,
) -> None:
    """With the receipt in, the message does not look for its turn any more."""
    opens = await world.now() + timedelta(hours=10)
    world.fakes.sends = [UNKNOWN, refuse(window_closed(MINUTE)), accept(SECOND)]
    handle = await world.start()
    await world.until(lambda: len(world.fakes.posts) == 1)
    world.fakes.closed_until = [opens] * 100
    await world.sleep(3 * MINUTE)
    await world.until(lambda: world.fakes.admitted == 2)
    await callback(handle, "delivered", number=FIRST)

    report = await handle.result()

    assert (Outcome.DELIVERED, sid(FIRST)) == (report.outcome, report.message_sid)
    assert 2 == world.fakes.admitted


async def test_what_is_called_back_before_its_post_is_not_posted(
    world: TimeSkippingEnvironment,
) -> None:
    """A run that Temporal was told to reset meets its receipts before its POST, and makes none."""
    handle = await world.client.start_workflow(
        SEND_MESSAGE,
        REQUEST,
        id=message_workflow_id("reset"),
        task_queue=MESSAGES_QUEUE,
        result_type=MessageReport,
        start_signal=DELIVERY_STATUS_SIGNAL,
        start_signal_args=[{"message_sid": sid(FIRST), "message_status": "sent"}],
    )
    world.fakes.statuses = [StatusResult(status="delivered")]

    report = await handle.result()

    assert (Outcome.DELIVERED, sid(FIRST)) == (report.outcome, report.message_sid)
    assert [] == world.fakes.posts


async def test_a_cancel_does_not_hide_a_submission_that_callbacks_show(
    world: TimeSkippingEnvironment,
) -> None:
    """Canceled while admission waits for the database: the report still says what Twilio has."""
    world.fakes.hold_admissions = threading.Event()
    world.fakes.admit_fails = 4
    handle = await world.client.start_workflow(
        SEND_MESSAGE,
        REQUEST,
        id=message_workflow_id("reset-and-canceled"),
        task_queue=MESSAGES_QUEUE,
        result_type=MessageReport,
        start_signal=DELIVERY_STATUS_SIGNAL,
        start_signal_args=[{"message_sid": sid(FIRST), "message_status": "sent"}],
    )
    await handle.cancel()
    world.fakes.hold_admissions.set()
    world.fakes.statuses = [StatusResult(status="delivered")]

    report = await handle.result()

    assert (Outcome.DELIVERED, sid(FIRST)) == (report.outcome, report.message_sid)
    assert [] == world.fakes.posts


async def test_a_refused_create_is_no_submission(world: TimeSkippingEnvironment) -> None:
    """Twilio keeps what it refuses as a failed message; a callback for that changes nothing."""
    world.fakes.sends = [failure(TEMPORARY, code=21611, retry_after=MINUTE, final=True), accept()]
    world.fakes.statuses = [StatusResult(status="delivered")]
    handle = await world.start()
    await world.until(lambda: len(world.fakes.posts) == 1)
    await callback(handle, "failed", number=FIRST, code=21611)
    sids = (await handle.query(PROGRESS_QUERY, result_type=Progress)).message_sids

    assert (sid(FIRST),) == sids, "but it is nobody else's"
    report = await handle.result()

    assert (Outcome.DELIVERED, sid(), 2) == (report.outcome, report.message_sid, report.attempts)


async def test_a_later_try_is_called_off_while_it_waits(world: TimeSkippingEnvironment) -> None:
    """It was undelivered, and reads as delivered while the next try waits for its turn."""
    world.fakes.sends = [accept(FIRST), refuse(deferred(timedelta(hours=2)))]
    handle = await world.start()
    await world.until(lambda: len(world.fakes.posts) == 1)
    await callback(handle, "undelivered", number=FIRST, code=30001)
    await world.sleep(timedelta(hours=1.5))
    await world.until(lambda: len(world.fakes.posts) == 2)
    await callback(handle, "read", number=FIRST)

    report = await handle.result()

    assert (Outcome.DELIVERED, sid(FIRST)) == (report.outcome, report.message_sid)
    assert 2 == len(world.fakes.posts)


async def test_an_unknown_fate_is_not_forgotten_when_it_expires(
    world: TimeSkippingEnvironment,
) -> None:
    """Its time passes while the next POST waits: somebody should look whether it was taken."""
    world.fakes.sends = [UNKNOWN, refuse(deferred(timedelta(hours=4)))]
    expires_at = (await world.now() + timedelta(hours=2)).isoformat()

    report = await world.report({**REQUEST, "expires_at": expires_at})

    assert (Outcome.EXPIRED, FailureClass.OUTCOME_UNKNOWN) == (report.outcome, report.failure_class)
    assert report.dead_letter_id is not None


class HoldsDeadLetters(Interceptor):
    """Starts no dead letter before its message has heard that it was delivered."""

    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: ARG002 - the SDK's signature
    ) -> type[WorkflowInboundInterceptor]:
        """See base class."""
        return _Inbound


class _Inbound(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound))


class _Outbound(WorkflowOutboundInterceptor):
    async def start_child_workflow(self, input: StartChildWorkflowInput) -> Any:
        message = workflow.instance()
        assert isinstance(message, SendMessage)
        await workflow.wait_condition(
            lambda: message.progress().twilio_status == "delivered"  # by way of its own handlers
        )
        return await super().start_child_workflow(input)


@pytest.mark.integration
async def test_a_receipt_between_the_ending_and_its_letter() -> None:
    """The message has ended without a receipt; one that comes just then resolves the letter."""
    fakes = FakeActivities()
    async with skipping_time() as env, serving(env.client, fakes, HoldsDeadLetters()):
        world = TimeSkippingEnvironment(env.client, fakes, env)
        handle = await world.start({**REQUEST, "receipt_timeout_seconds": 60}, message_id="m")
        await world.until(lambda: len(fakes.posts) == 1)
        await world.sleep(2 * MINUTE)
        await world.until(lambda: len(fakes.asked) == 1)
        await callback(handle, "delivered")

        report = await handle.result()
        letter = await env.client.get_workflow_handle(
            dead_letter_workflow_id("m"), result_type=DeadLetterReport
        ).result()

    assert Outcome.UNCONFIRMED is report.outcome
    assert DeadLetterOutcome.DELIVERED_LATE is letter.outcome
