"""The activities as workflows call them: on which queue, with which timeouts and retry policy."""

import contextlib
from typing import Final

from temporalio import workflow
from temporalio.common import Priority
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    TimeoutError,  # noqa: A004 - Temporal's own name for it
)
from temporalio.workflow import ActivityCancellationType, ActivityHandle

from signedfor.contract import TWILIO_SENDS_QUEUE
from signedfor.message_activities import (
    AlreadyClaimed,
    DeliveryConfirmed,
    DeliveryFailure,
    FailedDelivery,
    InputCheck,
    Reservation,
    ResumeRequest,
    ResumeResult,
    SearchActivities,
    SearchRequest,
    SearchResult,
    SendActivities,
    SendRequest,
    SendResult,
    StatusActivities,
    StatusRequest,
    StatusResult,
    Submission,
    SuppressionActivities,
    SuppressionRecord,
    WaitActivities,
)
from signedfor.retry import (
    BOUNDED_RETRY,
    DATABASE_TIMEOUT,
    LOCAL_RETRY,
    LOCAL_TIMEOUT,
    MAX_QUICK_WAIT,
    PATIENT_SEND,
    QUICK_SEND,
    SEARCH_TIMEOUT,
    SEND_TIMEOUT,
    UNLIMITED_RETRY,
)

LOCAL_FAILURES: Final = (ActivityError, ApplicationError, TimeoutError)
"""A local activity's own error arrives bare. Its timeout comes inside an ActivityError when it
happens, and bare when that is replayed."""


async def input_problems(check: InputCheck) -> tuple[tuple[str, str], ...]:
    """What is wrong with a message, if anything; within this workflow task."""
    with contextlib.suppress(*LOCAL_FAILURES):
        found = await workflow.execute_local_activity_method(
            WaitActivities.check_input,
            check,
            start_to_close_timeout=LOCAL_TIMEOUT,
            retry_policy=LOCAL_RETRY,
        )
        return found.problems
    return ()  # not known now: the send checks again


async def release_reservation(reservation: Reservation) -> None:
    """Let others have the time, within this workflow task; given up on if that fails."""
    with contextlib.suppress(*LOCAL_FAILURES):
        await workflow.execute_local_activity_method(
            WaitActivities.release_reservation,
            reservation,
            start_to_close_timeout=LOCAL_TIMEOUT,
            retry_policy=LOCAL_RETRY,
        )


def start_awaiting_resume(request: ResumeRequest, *, summary: str) -> ActivityHandle[ResumeResult]:
    """The end of a pause, or of the database's absence; the retry policy is what waits."""
    return workflow.start_activity_method(
        WaitActivities.await_resume,
        request,
        start_to_close_timeout=DATABASE_TIMEOUT,
        retry_policy=UNLIMITED_RETRY,
        summary=summary,
    )


def start_sending_now(request: SendRequest) -> ActivityHandle[SendResult]:
    """The quick attempts, within this workflow task (a local activity).

    It saves six history events and two round trips for every message.
    """
    return workflow.start_local_activity_method(
        SendActivities.send,
        request,
        start_to_close_timeout=SEND_TIMEOUT,
        retry_policy=QUICK_SEND,
        local_retry_threshold=MAX_QUICK_WAIT,
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    )


def start_sending(request: SendRequest, *, summary: str) -> ActivityHandle[SendResult]:
    """The patient attempts, on their own task queue; none is made after the request's deadline.

    Canceling waits for an attempt in progress: only its result says whether it was sent.
    """
    return workflow.start_activity_method(
        SendActivities.send,
        request,
        task_queue=TWILIO_SENDS_QUEUE,
        start_to_close_timeout=SEND_TIMEOUT,
        # The activity itself begins no POST after its deadline; the margin lets the last one end.
        schedule_to_close_timeout=(
            None if request.deadline is None else request.deadline - workflow.now() + SEND_TIMEOUT
        ),
        retry_policy=PATIENT_SEND,
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        priority=Priority(priority_key=request.message.priority.temporal_key),
        summary=summary,
    )


async def fetch_status(message_sid: str) -> StatusResult | None:
    """What Twilio says of a message; None if it cannot be asked now."""
    with contextlib.suppress(ActivityError):
        return await workflow.execute_activity_method(
            StatusActivities.fetch_status,
            StatusRequest(message_sid=message_sid),
            start_to_close_timeout=SEND_TIMEOUT,
            retry_policy=BOUNDED_RETRY,
            summary="no receipt: asks Twilio for the status",
        )
    return None


async def classify_delivery(error_code: int | None) -> DeliveryFailure:
    """What the code of a failed delivery means; within this workflow task, and then in the history.

    The workflow itself must not look it up: its commands follow from the answer, and the next
    release's table may have another.
    """
    return await workflow.execute_local_activity_method(
        StatusActivities.classify_delivery,
        FailedDelivery(error_code=error_code),
        start_to_close_timeout=LOCAL_TIMEOUT,
        retry_policy=UNLIMITED_RETRY,
    )


async def find_message(request: SearchRequest) -> SearchResult | None:
    """What Twilio's list says of a message of unknown outcome; None if it cannot be asked now."""
    with contextlib.suppress(ActivityError):
        return await workflow.execute_activity_method(
            SearchActivities.find_message,
            request,
            start_to_close_timeout=SEARCH_TIMEOUT,
            retry_policy=BOUNDED_RETRY,
            summary="searches Twilio's list for it",
        )
    return None


async def find_claim(submission: Submission) -> AlreadyClaimed | None:
    """The attempt after which Twilio may have it; within this workflow task.

    None also if the database cannot be asked: then what this run knows must do.
    """
    with contextlib.suppress(*LOCAL_FAILURES):
        return await workflow.execute_local_activity_method(
            SearchActivities.find_claim,
            submission,
            start_to_close_timeout=LOCAL_TIMEOUT,
            retry_policy=LOCAL_RETRY,
        )
    return None


async def record_suppression(record: SuppressionRecord) -> None:
    """Record it, however long the database takes to answer."""
    await workflow.execute_activity_method(
        SuppressionActivities.record_suppression,
        record,
        start_to_close_timeout=DATABASE_TIMEOUT,
        retry_policy=UNLIMITED_RETRY,
        summary="records the suppression",
    )


async def lift_undeliverable(delivery: DeliveryConfirmed) -> None:
    """Lift what the delivery disproves; given up on if that fails, as the next delivery does it."""
    with contextlib.suppress(ActivityError):
        await workflow.execute_activity_method(
            SuppressionActivities.lift_undeliverable,
            delivery,
            start_to_close_timeout=DATABASE_TIMEOUT,
            retry_policy=BOUNDED_RETRY,
            summary="delivered: lifts the suppression as undeliverable",
        )
