"""Dead letters: recorded as suppression, resolved by an operator, delivered late, or expired."""

import asyncio
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from signedfor.contract import (
    DEAD_LETTER,
    DeadLetterDetails,
    DeadLetterReport,
    Outcome,
    dead_letter_workflow_id,
    first_id,
    next_retry_id,
    retried_id,
)
from signedfor.contract.failures import FailureClass
from signedfor.payloads import INVALID_INPUT
from signedfor.search_attributes import MAY_HAVE_ARRIVED
from tests.workflows.fakes import (
    REQUEST,
    Environment,
    TimeSkippingEnvironment,
    accept,
    callback,
    failure,
    messages_worker,
)

CONFIG = FailureClass.SENDER_MISCONFIGURED


async def _dead_letter(
    env: Environment, message_id: str | None = None, **more: Any
) -> WorkflowHandle[Any, Any]:
    """The open dead letter of a message that Twilio refused because of its sender."""
    env.fakes.sends = [failure(CONFIG, code=21408)]
    report = await env.report({**REQUEST, **more}, message_id=message_id)
    assert report.dead_letter_id is not None
    return env.client.get_workflow_handle(report.dead_letter_id)


async def _resolve(dead_letter: WorkflowHandle[Any, Any], **resolution: Any) -> DeadLetterReport:
    result = await dead_letter.execute_update("resolve", resolution, result_type=DeadLetterReport)
    assert isinstance(result, DeadLetterReport)
    return result


async def test_a_dead_letter_shows_what_happened_and_what_to_do(real_env: Environment) -> None:
    """The query `details` returns the message, its report and the action to take."""
    dead_letter = await _dead_letter(real_env)

    view = await dead_letter.query("details", result_type=DeadLetterDetails)

    assert ("open", CONFIG, 21408, REQUEST["to"]) == (
        view.status,
        view.request.report.failure_class,
        view.request.report.error_code,
        view.request.message.to,
    )
    assert view.request.advice
    assert timedelta(days=30) == view.held_until - view.opened_at


async def test_retry_sends_a_new_message_with_an_id_of_its_own(real_env: Environment) -> None:
    """A retry is a new `SendMessage` whose id is derived from the old one."""
    dead_letter = await _dead_letter(real_env, message_id="parcel-2", tags={"order": "17"})
    real_env.fakes.sends = [accept()]

    done = await _resolve(dead_letter, action="retry", by="ops", note="region opened")

    assert ("retried", "parcel-2.retry-1", "ops", "region opened") == (
        done.outcome,
        done.retried_as,
        done.by,
        done.note,
    )
    retried = real_env.client.get_workflow_handle("message:parcel-2.retry-1")
    await real_env.until(lambda: len(real_env.fakes.posts) == 2)
    await callback(retried, "delivered")
    report = await retried.result()
    assert (Outcome.DELIVERED, {"order": "17"}) == (report["outcome"], report["tags"])


async def test_a_retry_can_change_the_message(real_env: Environment) -> None:
    """The resolution can give another sender, text, recipient or expiry; the rest stays."""
    dead_letter = await _dead_letter(real_env)
    real_env.fakes.sends = [accept()]

    await _resolve(dead_letter, action="retry", changes={"from": "+15005550009"})
    await real_env.until(lambda: len(real_env.fakes.posts) == 2)

    assert ["+15005550006", "+15005550009"] == [post.sender for post in real_env.fakes.posts]
    assert {REQUEST["to"]} == {post.message.to for post in real_env.fakes.posts}


async def test_discard_closes_the_dead_letter_with_a_note(real_env: Environment) -> None:
    """Nothing is sent; the result says who decided and why."""
    dead_letter = await _dead_letter(real_env)

    await _resolve(dead_letter, action="discard", by="ops", note="too old")

    result = await dead_letter.result()
    assert ("discarded", "ops", "too old") == (result["outcome"], result["by"], result["note"])
    assert 1 == len(real_env.fakes.posts)


@pytest.mark.parametrize(
    ("resolution", "field"),
    [
        ({"action": "resend"}, "action"),
        ({"action": "retry", "changes": {"to": "5551234"}}, "changes.to"),
        ({"action": "retry", "changes": {"priority": "urgent"}}, "changes.priority"),
        ({"action": "discard", "changes": {"body": "x"}}, "changes"),
        ({}, "action"),
    ],
)
async def test_a_bad_resolution_is_refused_and_the_dead_letter_stays_open(
    real_env: Environment, resolution: dict[str, Any], field: str
) -> None:
    """The caller gets an error that names the field and repeats no value."""
    dead_letter = await _dead_letter(real_env)

    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await dead_letter.execute_update("resolve", resolution)

    assert field in str(refused.value.cause)
    assert "5551234" not in str(refused.value.cause)
    assert "open" == (await dead_letter.query("details"))["status"]


@pytest.mark.parametrize(
    ("message_id", "changes", "problem"),
    [
        pytest.param("m" * 193, {}, "message id must be", id="the retry's id is too long"),
        pytest.param(
            "order-15550001111",
            {"to": "+15550001111"},
            "must not contain the recipient's number",
            id="the id contains the new recipient's number",
        ),
        pytest.param(
            "order-5550001111",
            {"to": "+15550001111"},
            "must not contain the recipient's number",
            id="the id contains it without the country's code",
        ),
    ],
)
async def test_a_retry_whose_id_would_be_invalid_is_refused(
    real_env: Environment, message_id: str, changes: dict[str, str], problem: str
) -> None:
    """The dead letter stays open, sends nothing, and can still be discarded."""
    dead_letter = await _dead_letter(real_env, message_id=message_id)

    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await dead_letter.execute_update("resolve", {"action": "retry", "changes": changes})

    assert isinstance(refused.value.cause, ApplicationError)
    assert INVALID_INPUT == refused.value.cause.type
    assert problem in str(refused.value.cause)
    assert "open" == (await dead_letter.query("details"))["status"]
    assert "discarded" == (await _resolve(dead_letter, action="discard")).outcome
    assert 1 == len(real_env.fakes.posts)


@pytest.mark.parametrize("args", [[], [{"action": "discard"}, {}]])
async def test_a_resolution_is_exactly_one_object(real_env: Environment, args: list[Any]) -> None:
    """No argument, or two, are refused and the dead letter stays open."""
    dead_letter = await _dead_letter(real_env)

    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await dead_letter.execute_update("resolve", args=args)

    assert "exactly one JSON object" in str(refused.value.cause)
    assert "open" == (await dead_letter.query("details"))["status"]


async def test_a_dead_letter_is_resolved_once(real_env: Environment) -> None:
    """The server refuses a second resolution, since the workflow is closed."""
    dead_letter = await _dead_letter(real_env)
    await _resolve(dead_letter, action="discard")

    with pytest.raises(Exception, match=r"(?i)completed|closed"):
        await _resolve(dead_letter, action="retry")
    assert 1 == len(real_env.fakes.posts)


async def test_a_late_delivered_receipt_closes_the_dead_letter(real_env: Environment) -> None:
    """A message that was delivered after all needs no resolution; nothing is sent again."""
    report = await real_env.report({**REQUEST, "receipt_timeout_seconds": 1})
    dead_letter = real_env.client.get_workflow_handle(report.dead_letter_id or "")
    await callback(dead_letter, "sent")
    await callback(dead_letter, "delivered")

    assert "delivered_late" == (await dead_letter.result())["outcome"]
    assert 1 == len(real_env.fakes.posts)


async def test_a_late_negative_receipt_keeps_the_dead_letter_open(real_env: Environment) -> None:
    """A late `undelivered` is shown in the details."""
    report = await real_env.report({**REQUEST, "receipt_timeout_seconds": 1})
    dead_letter = real_env.client.get_workflow_handle(report.dead_letter_id or "")
    await callback(dead_letter, "undelivered", code=30003)

    view = await dead_letter.query("details", result_type=DeadLetterDetails)

    assert ("open", "undelivered") == (view.status, view.late_status)


async def test_a_dead_letter_expires(env: TimeSkippingEnvironment) -> None:
    """It is held for 30 days and then closed as expired."""
    with env.server.auto_time_skipping_disabled():
        dead_letter = await _dead_letter(env)
        # The test server skips the 30 days, but does not answer this call after such a long skip.
        skipping = asyncio.create_task(env.sleep(timedelta(days=31)))
        while (await dead_letter.query("details"))["status"] == "open":  # noqa: ASYNC110 - a query
            await asyncio.sleep(0.05)
        skipping.cancel()

        assert "expired" == (await dead_letter.query("details"))["result"]["outcome"]


async def test_a_retry_does_not_send_an_expired_message(env: TimeSkippingEnvironment) -> None:
    """The message's `expires_at` applies to the retry too, unless it is changed."""
    now = await env.now()
    with env.server.auto_time_skipping_disabled():
        dead_letter = await _dead_letter(
            env, "parcel-4", expires_at=(now + timedelta(hours=1)).isoformat()
        )
        await env.sleep(timedelta(hours=2))
        env.fakes.now = lambda: now + timedelta(hours=2)
        await _resolve(dead_letter, action="retry")

        report = await env.client.get_workflow_handle("message:parcel-4.retry-1").result()

    assert Outcome.EXPIRED == report["outcome"]


async def test_a_failed_retry_opens_a_dead_letter_of_its_own(real_env: Environment) -> None:
    """The new dead letter's id is derived from the retry's id."""
    dead_letter = await _dead_letter(real_env, message_id="parcel-3")
    await _resolve(dead_letter, action="retry")

    report = await real_env.client.get_workflow_handle("message:parcel-3.retry-1").result()

    assert "dead-letter:parcel-3.retry-1" == report["dead_letter_id"]


async def test_a_requested_cancellation_leaves_it_open(real_env: Environment) -> None:
    """The biggest button on its page in the Temporal UI loses nothing, and says what would."""
    dead_letter = await _dead_letter(real_env, message_id="parcel-5")

    await dead_letter.cancel()
    view = await _until(dead_letter, lambda view: view.cancel_requested_at is not None)

    shown = await _details(dead_letter)
    assert "open" == view.status
    assert WorkflowExecutionStatus.RUNNING is (await dead_letter.describe()).status
    assert "does not close a dead letter" in shown
    assert "signedfor dead-letters discard parcel-5" in shown
    done = await _resolve(dead_letter, action="discard", note="wanted after all")
    assert done == DeadLetterReport.model_validate(await dead_letter.result())


async def test_a_cancellation_before_its_first_task_leaves_it_open(real_env: Environment) -> None:
    """Whatever the worker learns first, a decision is still possible."""
    request = (await _view(await _dead_letter(real_env))).request
    queue = uuid.uuid4().hex
    dead_letter = await real_env.client.start_workflow(
        DEAD_LETTER, request, id=dead_letter_workflow_id(queue), task_queue=queue
    )
    await dead_letter.cancel()

    with ThreadPoolExecutor(4) as threads:
        async with messages_worker(real_env.client, real_env.fakes, threads, task_queue=queue):
            view = await _view(dead_letter)
            assert view.cancel_requested_at is not None
            assert "open" == view.status
            await _resolve(dead_letter, action="discard")

    assert WorkflowExecutionStatus.COMPLETED is (await dead_letter.describe()).status


async def test_a_suppression_is_recorded_although_it_is_canceled(real_env: Environment) -> None:
    """A cancellation while the database is unavailable does not stop the opt-out."""
    real_env.fakes.suppressions_fail = 2
    real_env.fakes.sends = [failure(FailureClass.RECIPIENT_OPTED_OUT, code=21610)]
    report = await real_env.report(REQUEST)
    dead_letter = real_env.client.get_workflow_handle(report.dead_letter_id or "")

    await dead_letter.cancel()

    assert "recorded" == (await dead_letter.result())["outcome"]
    assert 1 == len(real_env.fakes.suppressions)


async def test_what_may_have_arrived_is_retried_only_in_spite_of_that(
    real_env: Environment,
) -> None:
    """Whoever asks, the dead letter itself refuses a retry that may be a second message."""
    report = await real_env.report({**REQUEST, "receipt_timeout_seconds": 1})
    dead_letter = real_env.client.get_workflow_handle(report.dead_letter_id or "")

    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await _resolve(dead_letter, action="retry")

    assert isinstance(refused.value.cause, ApplicationError)
    assert "MayHaveArrived" == refused.value.cause.type
    assert 1 == len(real_env.fakes.posts)
    assert "--even-if-taken" in await _details(dead_letter)
    done = await _resolve(dead_letter, action="retry", even_if_taken=True)
    assert "retried" == done.outcome


async def test_what_did_not_arrive_is_retried_without_more(real_env: Environment) -> None:
    """A refused message is safe to send again: nothing has to be confirmed."""
    dead_letter = await _dead_letter(real_env)
    real_env.fakes.sends = [accept()]

    assert not (await _view(dead_letter)).may_have_arrived
    assert "--even-if-taken" not in await _details(dead_letter)
    assert "retried" == (await _resolve(dead_letter, action="retry")).outcome


async def test_a_late_receipt_says_that_it_did_not_arrive(real_env: Environment) -> None:
    """What it waited for has come: it may be retried, and is found as such."""
    report = await real_env.report({**REQUEST, "receipt_timeout_seconds": 1})
    dead_letter = real_env.client.get_workflow_handle(report.dead_letter_id or "")
    before = await _view(dead_letter)

    await callback(dead_letter, "undelivered", code=30003)
    view = await _until(dead_letter, lambda view: view.late_error_code == 30003)

    assert (True, False) == (before.may_have_arrived, view.may_have_arrived)
    attributes = (await dead_letter.describe()).typed_search_attributes
    assert attributes.get(MAY_HAVE_ARRIVED) is False


async def test_a_submission_that_was_not_known_may_arrive(real_env: Environment) -> None:
    """Twilio calls back for a message that should not exist: a retry may be a second one."""
    dead_letter = await _dead_letter(real_env)

    await callback(dead_letter, "sent", number=7)
    view = await _until(dead_letter, lambda view: view.late_status == "sent")

    assert view.may_have_arrived
    attributes = (await dead_letter.describe()).typed_search_attributes
    assert attributes.get(MAY_HAVE_ARRIVED) is True


async def _view(dead_letter: WorkflowHandle[Any, Any]) -> DeadLetterDetails:
    view: DeadLetterDetails = await dead_letter.query("details", result_type=DeadLetterDetails)
    return view


async def _until(
    dead_letter: WorkflowHandle[Any, Any],
    holds: Callable[[DeadLetterDetails], bool],
) -> DeadLetterDetails:
    """Its details, once they hold that."""
    async with asyncio.timeout(30):
        while not holds(view := await _view(dead_letter)):  # noqa: ASYNC110 - a query
            await asyncio.sleep(0.05)
    return view


async def _details(dead_letter: WorkflowHandle[Any, Any]) -> str:
    """What the Temporal UI shows of it."""
    metadata = await dead_letter.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    return str(metadata.current_details)


def test_retry_ids_count_up() -> None:
    """`.retry-1` is followed by `.retry-2`."""
    assert "m.retry-1" == next_retry_id("m")
    assert "m.retry-2" == next_retry_id("m.retry-1")
    assert "m.retry-x.retry-1" == next_retry_id("m.retry-x")


@pytest.mark.parametrize("message_id", ["m", "m.retry-1", "m.retry-9", "m.retry-x"])
def test_a_retry_names_what_it_retries(message_id: str) -> None:
    """The other way round; a message that is no retry names none."""
    assert message_id == retried_id(next_retry_id(message_id))
    assert None is retried_id("m.retry-0") is retried_id("m")
    assert "m" == first_id("m") == first_id("m.retry-1") == first_id("m.retry-12")
    assert "m.retry-0" == first_id("m.retry-0")
