"""Canceling a message: it is certain before submission, and refused after it."""

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.client import WorkflowUpdateFailedError, WorkflowUpdateStage

from signedfor.contract import CancelRequest, CancelResult, Outcome
from signedfor.contract.failures import FailureClass
from signedfor.message_activities import SendRequest, SendResult
from tests.workflows.fakes import REQUEST, Environment, accept, callback, failure


async def _cancel(handle: object) -> CancelResult:
    result = await handle.execute_update(  # type: ignore[attr-defined]
        "cancel", CancelRequest(by="ops", reason="wrong text"), result_type=CancelResult
    )
    assert isinstance(result, CancelResult)
    return result


async def test_a_scheduled_message_can_be_canceled(real_env: Environment) -> None:
    """A message that waits for its `send_at` ends as canceled and nothing is sent."""
    now = datetime.now(UTC)
    handle = await real_env.start({**REQUEST, "send_at": (now + timedelta(days=1)).isoformat()})

    assert CancelResult(canceled=True, status="canceled") == await _cancel(handle)
    assert Outcome.CANCELED is (await handle.result()).outcome
    assert [] == real_env.fakes.posts


async def test_cancel_needs_no_argument(real_env: Environment) -> None:
    """`temporal workflow update execute --name cancel` works without input."""
    now = datetime.now(UTC)
    handle = await real_env.start({**REQUEST, "send_at": (now + timedelta(days=1)).isoformat()})

    assert (await handle.execute_update("cancel"))["canceled"]


async def test_temporals_own_cancellation_cancels_the_message(real_env: Environment) -> None:
    """The button in the Temporal UI cancels a message that has not been submitted."""
    now = datetime.now(UTC)
    handle = await real_env.start({**REQUEST, "send_at": (now + timedelta(days=1)).isoformat()})
    await handle.cancel()

    assert Outcome.CANCELED is (await handle.result()).outcome


@pytest.mark.parametrize("quick", [0, 1], ids=["the-workflow-waits", "temporal-waits"])
async def test_a_message_between_retries_can_be_canceled(real_env: Environment, quick: int) -> None:
    """While Twilio is unavailable, canceling ends the retries, and nothing more is sent."""
    temporary = FailureClass.TEMPORARILY_UNAVAILABLE
    real_env.fakes.sends = [
        *[failure(temporary, final=True)] * quick,
        failure(temporary, retry_after=timedelta(minutes=1)),
    ]
    handle = await real_env.start()
    await real_env.until(lambda: len(real_env.fakes.posts) == quick + 1)

    result = await _cancel(handle)

    assert result.canceled
    assert Outcome.CANCELED is (await handle.result()).outcome
    assert quick + 1 == len(real_env.fakes.posts)


@pytest.mark.parametrize(
    "before",
    [[], [failure(FailureClass.TEMPORARILY_UNAVAILABLE, final=True)]],
    ids=["quick", "patient"],
)
async def test_canceling_during_a_post_waits_for_its_result(
    real_env: Environment, before: list[Callable[[SendRequest], SendResult]]
) -> None:
    """If Twilio accepts the message, the answer is that it is too late."""
    started, may_finish = threading.Event(), threading.Event()

    def slow(request: SendRequest) -> SendResult:
        started.set()
        may_finish.wait(20)
        return accept()(request)

    real_env.fakes.sends = [*before, slow]
    handle = await real_env.start()
    await real_env.until(started.is_set)
    # During a quick attempt this takes eight seconds: until the workflow task is extended.
    update = await handle.start_update("cancel", wait_for_stage=WorkflowUpdateStage.ACCEPTED)
    may_finish.set()

    assert {"canceled": False, "status": "awaiting_receipt"} == await update.result()
    await callback(handle, "delivered")
    assert Outcome.DELIVERED is (await handle.result()).outcome


async def test_a_submitted_message_cannot_be_canceled(real_env: Environment) -> None:
    """Neither the update nor Temporal's own cancellation stops it."""
    handle = await real_env.start()
    await real_env.until(lambda: len(real_env.fakes.posts) == 1)

    assert not (await _cancel(handle)).canceled
    await handle.cancel()
    await callback(handle, "delivered")
    assert Outcome.DELIVERED is (await handle.result()).outcome


async def test_a_message_waiting_for_the_database_can_be_canceled(real_env: Environment) -> None:
    """Canceling does not wait until opt-outs can be read."""
    real_env.fakes.database_away = 1000
    handle = await real_env.start()
    await real_env.until(lambda: len(real_env.fakes.resume_checks) > 0)

    assert (await _cancel(handle)).canceled
    assert Outcome.CANCELED is (await handle.result()).outcome


async def test_a_message_that_waits_for_a_later_attempt_can_be_canceled(
    real_env: Environment,
) -> None:
    """It was undelivered and is not submitted again."""
    handle = await real_env.start()
    await real_env.until(lambda: len(real_env.fakes.posts) == 1)
    await callback(handle, "undelivered", code=30003)
    while (await handle.query("progress"))["status"] != "delayed":  # noqa: ASYNC110 - a query
        await asyncio.sleep(0.05)
    result = await _cancel(handle)

    assert result.canceled
    report = await handle.result()
    assert (Outcome.CANCELED, 30003, 1) == (
        report.outcome,
        report.error_code,
        len(real_env.fakes.posts),
    )


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        pytest.param([{"who": "+15558675309"}], "who", id="an unknown field"),
        pytest.param([{}, {}], "exactly one JSON object", id="two arguments"),
    ],
)
async def test_a_bad_cancel_is_refused(
    real_env: Environment, args: list[dict[str, str]], problem: str
) -> None:
    """The caller gets an error that repeats no value; the message goes on."""
    handle = await real_env.submitted()
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await handle.execute_update("cancel", args=args)

    assert problem in str(refused.value.cause)
    assert "8675309" not in str(refused.value.cause)
    await callback(handle, "delivered")
    assert Outcome.DELIVERED is (await handle.result()).outcome
