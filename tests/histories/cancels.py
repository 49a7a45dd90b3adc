"""Messages canceled at each stage, in time or too late."""

import contextlib
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from temporalio.client import WorkflowUpdateFailedError, WorkflowUpdateStage

from signedfor.contract import (
    CANCEL_UPDATE,
    MESSAGES_QUEUE,
    SEND_MESSAGE,
    CancelRequest,
    message_workflow_id,
)
from signedfor.contract.failures import FailureClass
from signedfor.message_activities import SendRequest, SendResult
from tests.histories.recording import Handle, reaches
from tests.workflows.fakes import (
    REQUEST,
    Environment,
    TimeSkippingEnvironment,
    accept,
    callback,
    failure,
)


async def _cancel(handle: Handle) -> None:
    await handle.execute_update(CANCEL_UPDATE, CancelRequest(by="ops", reason="wrong text"))


async def _scheduled(env: Environment) -> Handle:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    handle = await env.start({**REQUEST, "send_at": tomorrow.isoformat()})
    await reaches(handle, "scheduled")
    return handle


async def canceled_while_scheduled(env: Environment) -> Handle:
    """Before its `send_at`."""
    handle = await _scheduled(env)
    await _cancel(handle)
    return handle


async def canceled_without_input(env: Environment) -> Handle:
    """Canceled without input, as the `temporal` command line does."""
    handle = await _scheduled(env)
    await handle.execute_update(CANCEL_UPDATE)
    return handle


async def canceled_by_temporal(env: Environment) -> Handle:
    """Canceled with the button in the Temporal UI."""
    handle = await _scheduled(env)
    await handle.cancel()
    return handle


async def canceled_in_the_first_workflow_task(env: Environment) -> Handle:
    """The first activity is canceled as it is scheduled."""
    handle = await env.client.start_workflow(
        SEND_MESSAGE,
        REQUEST,
        id=message_workflow_id("canceled-at-once"),
        task_queue=MESSAGES_QUEUE,
        start_delay=timedelta(seconds=2),
    )
    await handle.cancel()
    return handle


async def canceled_while_the_database_is_unavailable(env: Environment) -> Handle:
    """Canceled before opt-outs could be read."""
    env.fakes.database_away = 1000
    handle = await env.start()
    await env.until(lambda: len(env.fakes.resume_checks) > 0)
    await _cancel(handle)
    return handle


async def canceled_while_waiting_for_its_reserved_time(env: Environment) -> Handle:
    """Its sender is busy."""
    env.fakes.reserved_at = datetime.now(UTC) + timedelta(hours=1)
    handle = await env.start()
    await reaches(handle, "waiting")
    await _cancel(handle)
    return handle


async def canceled_between_patient_attempts(env: Environment) -> Handle:
    """While the send activity waits for its next attempt."""
    temporary = FailureClass.TEMPORARILY_UNAVAILABLE
    env.fakes.sends = [
        failure(temporary, final=True),
        failure(temporary, retry_after=timedelta(minutes=1)),
    ]
    handle = await env.start()
    await env.until(lambda: len(env.fakes.posts) == 2)
    await _cancel(handle)
    return handle


async def canceled_before_a_later_attempt(env: Environment) -> Handle:
    """While the workflow waits for its next attempt."""
    env.fakes.sends = [
        failure(
            FailureClass.TEMPORARILY_UNAVAILABLE,
            code=21611,
            retry_after=timedelta(minutes=5),
            final=True,
        )
    ]
    handle = await env.start()
    await reaches(handle, "retrying")
    await _cancel(handle)
    return handle


async def canceled_during_a_post(env: Environment) -> Handle:
    """Too late: Twilio accepts it. The attempt is quick, but longer than a workflow task."""
    return await _canceled_during(env, accept())


async def canceled_during_a_patient_post(env: Environment) -> Handle:
    """Too late: Twilio accepts it. The attempt is one of the task queue's."""
    return await _canceled_during(env, accept(), is_quick=False)


async def canceled_during_a_post_that_fails(env: Environment) -> Handle:
    """In time: Twilio does not accept it."""
    unavailable = failure(FailureClass.TEMPORARILY_UNAVAILABLE, code=20429)
    return await _canceled_during(env, unavailable)


async def _canceled_during(
    env: Environment, answer: Callable[[SendRequest], SendResult], *, is_quick: bool = True
) -> Handle:
    started, may_finish = threading.Event(), threading.Event()

    def slow(request: SendRequest) -> SendResult:
        started.set()
        may_finish.wait(15)
        return answer(request)

    before = [] if is_quick else [failure(FailureClass.TEMPORARILY_UNAVAILABLE, final=True)]
    env.fakes.sends = [*before, slow]
    handle = await env.start()
    await env.until(started.is_set)
    update = await handle.start_update(CANCEL_UPDATE, wait_for_stage=WorkflowUpdateStage.ACCEPTED)
    may_finish.set()
    if not (await update.result())["canceled"]:
        await callback(handle, "delivered")
    return handle


async def canceled_after_submission(env: Environment) -> Handle:
    """Too late, with the update and with Temporal's own cancellation."""
    handle = await env.start()
    await reaches(handle, "awaiting_receipt")
    await _cancel(handle)
    await handle.cancel()
    await callback(handle, "delivered")
    return handle


async def canceled_during_the_search(env: TimeSkippingEnvironment) -> Handle:
    """Twilio does not have the message, and nothing is sent again."""
    env.fakes.sends = [failure(FailureClass.OUTCOME_UNKNOWN)]
    handle = await env.start()
    await env.until(lambda: len(env.fakes.posts) == 1)
    await handle.start_update(CANCEL_UPDATE, wait_for_stage=WorkflowUpdateStage.ACCEPTED)
    return handle


async def canceled_while_delayed(env: Environment) -> Handle:
    """Undelivered so far, and not sent again."""
    handle = await env.start()
    await reaches(handle, "awaiting_receipt")
    await callback(handle, "undelivered", code=30003)
    await reaches(handle, "delayed")
    await _cancel(handle)
    return handle


async def cancel_refused(env: Environment) -> Handle:
    """Updates with unknown fields or two arguments are refused and change nothing."""
    handle = await env.submitted()
    with contextlib.suppress(WorkflowUpdateFailedError):
        await handle.execute_update(CANCEL_UPDATE, {"who": "ops"})
    with contextlib.suppress(WorkflowUpdateFailedError):
        await handle.execute_update(CANCEL_UPDATE, args=[{}, {}])
    await callback(handle, "delivered")
    return handle
