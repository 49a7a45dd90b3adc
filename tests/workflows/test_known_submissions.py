"""A callback shows that Twilio has, or delivered, a message that was about to be sent again."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHandle
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
    Stage,
    dead_letter_workflow_id,
    message_workflow_id,
)
from signedfor.contract.failures import FailureClass
from signedfor.message_activities import (
    DatabaseAway,
    Paused,
    SendRequest,
    SendResult,
    StatusResult,
)
from tests.histories.recording import reaches
from tests.workflows.fakes import (
    REQUEST,
    Environment,
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
    ids=["reservation", "window", "pause", "first-retry", "patient-retry"],
)
async def test_a_late_callback_stops_a_resend(
    env: TimeSkippingEnvironment, waits: list[Any], status: str
) -> None:
    """The first POST was not found; while the resend waits, its callback arrives: no resend."""
    env.fakes.sends = [UNKNOWN, *waits, accept(SECOND)]
    env.fakes.resumes = [None] * 1000
    env.fakes.statuses = [StatusResult(status="delivered")]
    handle = await env.start()
    await env.until(lambda: len(env.fakes.posts) == 1)
    await env.sleep(2 * MINUTE)
    await env.until(lambda: len(env.fakes.posts) == 1 + len(waits))
    await callback(handle, status, number=FIRST)

    report = await handle.result()

    assert (Outcome.DELIVERED, sid(FIRST)) == (report.outcome, report.message_sid)
    assert 1 + len(waits) == len(env.fakes.posts)


async def test_a_late_callback_ends_the_wait_for_a_closed_window(
    env: TimeSkippingEnvironment,
) -> None:
    """Once the receipt is there, the message does not ask again whether it may be sent."""
    opens = await env.now() + timedelta(hours=10)
    env.fakes.sends = [UNKNOWN, refuse(window_closed(MINUTE)), accept(SECOND)]
    handle = await env.start()
    await env.until(lambda: len(env.fakes.posts) == 1)
    await env.sleep(MINUTE)
    await env.until(lambda: len(env.fakes.posts) == 2)
    env.fakes.closed_until = [opens] * 100
    await env.sleep(2 * MINUTE)
    await env.until(lambda: len(env.fakes.requests) == 3)
    await callback(handle, "delivered", number=FIRST)

    report = await handle.result()

    assert (Outcome.DELIVERED, sid(FIRST)) == (report.outcome, report.message_sid)
    assert 3 == len(env.fakes.requests)


async def _start_with_a_callback(
    env: TimeSkippingEnvironment,
) -> WorkflowHandle[Any, MessageReport]:
    """Start a message whose first workflow task has a callback, as after a reset."""
    return await env.client.start_workflow(
        SEND_MESSAGE,
        REQUEST,
        id=message_workflow_id("reset"),
        task_queue=MESSAGES_QUEUE,
        result_type=MessageReport,
        start_signal=DELIVERY_STATUS_SIGNAL,
        start_signal_args=[{"message_sid": sid(FIRST), "message_status": "sent"}],
    )


async def test_a_callback_before_the_post_prevents_it(
    env: TimeSkippingEnvironment,
) -> None:
    """A workflow that was reset gets its callbacks before its POST, and sends nothing."""
    handle = await _start_with_a_callback(env)
    env.fakes.statuses = [StatusResult(status="delivered")]

    report = await handle.result()

    assert (Outcome.DELIVERED, sid(FIRST)) == (report.outcome, report.message_sid)
    assert [] == env.fakes.requests


async def test_a_cancel_does_not_hide_a_submission_that_callbacks_show(
    real_env: Environment,
) -> None:
    """Both arrive while the database does not answer; the report says what Twilio has."""
    asked, may_finish = threading.Event(), threading.Event()

    def slow(request: SendRequest) -> SendResult:
        asked.set()
        assert may_finish.wait(15)
        return refuse(DatabaseAway())(request)

    real_env.fakes.sends = [slow]
    handle = await real_env.start()
    await real_env.until(asked.is_set)
    await callback(handle, "sent", number=FIRST)
    await handle.cancel()
    may_finish.set()
    await reaches(handle, Stage.AWAITING_RECEIPT)
    await callback(handle, "delivered", number=FIRST)

    report = await handle.result()

    assert (Outcome.DELIVERED, sid(FIRST)) == (report.outcome, report.message_sid)
    assert 1 == len(real_env.fakes.requests)


async def test_a_callback_for_a_refused_create_is_no_submission(
    env: TimeSkippingEnvironment,
) -> None:
    """Twilio records what it refuses as a failed message; its callback does not stop a retry."""
    env.fakes.sends = [failure(TEMPORARY, code=21611, retry_after=MINUTE, final=True), accept()]
    env.fakes.statuses = [StatusResult(status="delivered")]
    handle = await env.start()
    await env.until(lambda: len(env.fakes.posts) == 1)
    await callback(handle, "failed", number=FIRST, code=21611)
    sids = (await handle.query(PROGRESS_QUERY, result_type=Progress)).message_sids

    assert (sid(FIRST),) == sids, "the SID still belongs to this message"
    report = await handle.result()

    assert (Outcome.DELIVERED, sid(), 2) == (report.outcome, report.message_sid, report.attempts)


async def test_a_read_receipt_stops_a_later_attempt_while_it_waits(
    env: TimeSkippingEnvironment,
) -> None:
    """The first submission was undelivered, and is read while the second waits to be sent."""
    env.fakes.sends = [accept(FIRST), refuse(deferred(timedelta(hours=2)))]
    handle = await env.start()
    await env.until(lambda: len(env.fakes.posts) == 1)
    await callback(handle, "undelivered", number=FIRST, code=30001)
    await env.sleep(timedelta(hours=1.5))
    await env.until(lambda: len(env.fakes.posts) == 2)
    await callback(handle, "read", number=FIRST)

    report = await handle.result()

    assert (Outcome.DELIVERED, sid(FIRST)) == (report.outcome, report.message_sid)
    assert 2 == len(env.fakes.posts)


async def test_a_message_that_expires_after_an_unknown_outcome_is_a_dead_letter(
    env: TimeSkippingEnvironment,
) -> None:
    """It expires while the resend waits: an operator should check whether Twilio accepted it."""
    env.fakes.sends = [UNKNOWN, refuse(deferred(timedelta(hours=4)))]
    expires_at = (await env.now() + timedelta(hours=2)).isoformat()

    report = await env.report({**REQUEST, "expires_at": expires_at})

    assert (Outcome.EXPIRED, FailureClass.OUTCOME_UNKNOWN) == (report.outcome, report.failure_class)
    assert report.dead_letter_id is not None


class DelaysDeadLetters(Interceptor):
    """Does not start the dead letter until its message has received `delivered`."""

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
        await workflow.wait_condition(lambda: message.progress().twilio_status == "delivered")
        return await super().start_child_workflow(input)


@pytest.mark.integration
async def test_a_receipt_just_before_the_dead_letter_starts_resolves_it() -> None:
    """The message ended without a receipt; the late one is passed on to its dead letter."""
    fakes = FakeActivities()
    async with skipping_time() as server, serving(server.client, fakes, DelaysDeadLetters()):
        env = TimeSkippingEnvironment(server.client, fakes, server)
        handle = await env.start({**REQUEST, "receipt_timeout_seconds": 60}, message_id="m")
        await env.until(lambda: len(fakes.posts) == 1)
        await env.sleep(2 * MINUTE)
        await env.until(lambda: len(fakes.status_checks) == 1)
        await callback(handle, "delivered")

        report = await handle.result()
        dead_letter = await server.client.get_workflow_handle(
            dead_letter_workflow_id("m"), result_type=DeadLetterReport
        ).result()

    assert Outcome.UNCONFIRMED is report.outcome
    assert DeadLetterOutcome.DELIVERED_LATE is dead_letter.outcome
