"""Dead letters: recorded, retried, discarded, delivered late, and expired."""

import asyncio
import contextlib
from datetime import timedelta
from typing import Any

from temporalio.client import WithStartWorkflowOperation, WorkflowUpdateFailedError

from signedfor.client import CONFLICT_POLICY
from signedfor.contract import (
    DEAD_LETTER,
    DELIVERY_STATUS_SIGNAL,
    DETAILS_QUERY,
    MESSAGES_QUEUE,
    RESOLVE_UPDATE,
    DeadLetterDetails,
    DeadLetterRequest,
    DeliveryStatus,
    Resolution,
    dead_letter_workflow_id,
    message_workflow_id,
)
from signedfor.contract.failures import FailureClass
from tests.histories.recording import Handle
from tests.workflows.fakes import (
    REQUEST,
    Environment,
    TimeSkippingEnvironment,
    accept,
    callback,
    failure,
    sid,
)


async def _dead_letter(
    env: Environment,
    *,
    of: FailureClass = FailureClass.SENDER_MISCONFIGURED,
    code: int = 21408,
    message_id: str | None = None,
) -> Handle:
    env.fakes.sends = [failure(of, code=code)]
    report = await env.report({**REQUEST, "tenant": "shop"}, message_id=message_id)
    return env.client.get_workflow_handle(report.dead_letter_id or "")


async def _dead_letter_without_a_receipt(env: Environment) -> Handle:
    report = await env.report({**REQUEST, "receipt_timeout_seconds": 1})
    return env.client.get_workflow_handle(report.dead_letter_id or "")


async def _resolve(dead_letter: Handle, **resolution: Any) -> None:
    await dead_letter.execute_update(RESOLVE_UPDATE, resolution)


async def dead_letter_of_an_opt_out(env: Environment) -> Handle:
    """Recorded and closed."""
    return await _dead_letter(env, of=FailureClass.RECIPIENT_OPTED_OUT, code=21610)


async def dead_letter_of_an_unreachable_number(env: Environment) -> Handle:
    """Recorded and closed."""
    return await _dead_letter(env, of=FailureClass.RECIPIENT_UNREACHABLE, code=21614)


async def dead_letter_retried(env: Environment) -> Handle:
    """A new message is started."""
    dead_letter = await _dead_letter(env)
    env.fakes.sends = [accept()]
    await _resolve(dead_letter, action="retry", by="ops", note="region opened")
    return dead_letter


async def dead_letter_retried_with_changes(env: Environment) -> Handle:
    """The retry has another sender."""
    dead_letter = await _dead_letter(env)
    env.fakes.sends = [accept()]
    await _resolve(dead_letter, action="retry", changes={"from": "+15005550009"})
    return dead_letter


async def dead_letter_of_a_retry_retried(env: Environment) -> Handle:
    """A failed retry has a dead letter of its own, whose retry has the next number."""
    first = await _dead_letter(env, message_id="parcel")
    await _resolve(first, action="retry")
    await env.client.get_workflow_handle(message_workflow_id("parcel.retry-1")).result()
    dead_letter = env.client.get_workflow_handle(dead_letter_workflow_id("parcel.retry-1"))
    await _resolve(dead_letter, action="retry")
    return dead_letter


async def dead_letter_whose_retry_exists(env: Environment) -> Handle:
    """The retry's message id is already in use: nothing is sent twice."""
    await env.start(message_id="taken.retry-1")
    await env.until(lambda: len(env.fakes.posts) == 1)
    env.fakes.posts.clear()
    dead_letter = await _dead_letter(env, message_id="taken")
    await _resolve(dead_letter, action="retry")
    return dead_letter


async def dead_letter_discarded(env: Environment) -> Handle:
    """Discarded with a note, after bad resolutions were refused."""
    dead_letter = await _dead_letter(env)
    for refused in ({"action": "resend"}, {"action": "retry", "changes": {"to": "invalid"}}):
        with contextlib.suppress(WorkflowUpdateFailedError):
            await _resolve(dead_letter, **refused)
    await _resolve(dead_letter, action="discard", by="ops", note="too old")
    return dead_letter


async def dead_letter_delivered_late(env: Environment) -> Handle:
    """A late receipt proves it delivered."""
    dead_letter = await _dead_letter_without_a_receipt(env)
    await callback(dead_letter, "sent")
    await callback(dead_letter, "delivered")
    return dead_letter


async def dead_letter_delivered_before_its_first_task(env: Environment) -> Handle:
    """The late receipt arrives before the first workflow task."""
    return await env.client.start_workflow(
        DEAD_LETTER,
        await _dead_letter_request(env),
        id=dead_letter_workflow_id("early"),
        task_queue=MESSAGES_QUEUE,
        start_signal=DELIVERY_STATUS_SIGNAL,
        start_signal_args=[DeliveryStatus(message_sid=sid(), message_status="delivered")],
    )


async def dead_letter_resolved_before_its_first_task(env: Environment) -> Handle:
    """The operator's resolution arrives before the first workflow task."""
    start: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
        DEAD_LETTER,
        await _dead_letter_request(env),
        id=dead_letter_workflow_id("early"),
        task_queue=MESSAGES_QUEUE,
        id_conflict_policy=CONFLICT_POLICY,
    )
    await env.client.execute_update_with_start_workflow(
        RESOLVE_UPDATE, Resolution(action="discard"), start_workflow_operation=start
    )
    return await start.workflow_handle()


async def _dead_letter_request(env: Environment) -> DeadLetterRequest:
    view = await (await _dead_letter(env)).query(DETAILS_QUERY, result_type=DeadLetterDetails)
    assert isinstance(view, DeadLetterDetails)
    return view.request


async def dead_letter_canceled_by_temporal(env: Environment) -> Handle:
    """Its cancellation is requested, which closes nothing; then it is discarded."""
    dead_letter = await _dead_letter(env)
    await dead_letter.cancel()
    await _until_cancel_requested(dead_letter)
    await _resolve(dead_letter, action="discard", by="ops")
    return dead_letter


async def dead_letter_that_may_have_arrived_retried(env: Environment) -> Handle:
    """A submission that was not known calls back: the retry says that it knows that."""
    dead_letter = await _dead_letter(env)
    await callback(dead_letter, "sent", number=7)
    env.fakes.sends = [accept()]
    with contextlib.suppress(WorkflowUpdateFailedError):
        await _resolve(dead_letter, action="retry")
    await _resolve(dead_letter, action="retry", even_if_taken=True)
    return dead_letter


async def _until_cancel_requested(dead_letter: Handle) -> None:
    async with asyncio.timeout(30):
        while (await dead_letter.query(DETAILS_QUERY))["cancel_requested_at"] is None:  # noqa: ASYNC110 - a query
            await asyncio.sleep(0.05)


async def dead_letter_with_a_late_negative_receipt(env: Environment) -> Handle:
    """The late receipt is shown; an operator then discards the dead letter."""
    dead_letter = await _dead_letter_without_a_receipt(env)
    await callback(dead_letter, "undelivered", code=30003)
    await callback(dead_letter, "undelivered", code=30003)
    await _resolve(dead_letter, action="discard")
    return dead_letter


async def dead_letter_expired(env: TimeSkippingEnvironment) -> Handle:
    """It was not resolved for 30 days."""
    with env.server.auto_time_skipping_disabled():
        dead_letter = await _dead_letter(env)
        # The test server skips the 30 days, but does not answer this call after such a long skip.
        skipping = asyncio.create_task(env.sleep(timedelta(days=31)))
        while (await dead_letter.query(DETAILS_QUERY))["status"] == "open":  # noqa: ASYNC110 - a query
            await asyncio.sleep(0.05)
        skipping.cancel()
    return dead_letter


async def message_whose_dead_letter_exists(env: Environment) -> Handle:
    """A caller with other id policies uses a message id again: there is one dead letter."""
    await _dead_letter(env, message_id="twice")
    handle = await env.start(message_id="twice")
    await handle.result()
    return handle
