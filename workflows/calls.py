"""The activities as workflows call them: which queue, which timeouts, which retry policy."""

import contextlib
from datetime import timedelta
from typing import Final

from temporalio import workflow
from temporalio.common import Priority, RetryPolicy
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    TimeoutError,  # noqa: A004 - Temporal's own name for it
)
from temporalio.workflow import ActivityCancellationType, ActivityHandle

from signedfor.contract import TWILIO_SENDS_QUEUE
from signedfor.retry import (
    A_FEW_TRIES,
    BOOKKEEPING_TIMEOUT,
    INLINE_ADMIT,
    INLINE_ADMIT_TIMEOUT,
    SEARCH_TIMEOUT,
    SEND_TIMEOUT,
    UNTIL_IT_ANSWERS,
)
from signedfor.steps import (
    ADMIT,
    AWAIT_RELEASE,
    CHECK_WINDOW,
    GIVE_BACK,
    LOOK_UP,
    RECORD_SUPPRESSION,
    SEARCH,
    SEND,
    Admission,
    AdmitRequest,
    GiveBackRequest,
    LookUp,
    LookUpRequest,
    Release,
    ReleaseRequest,
    SearchRequest,
    SearchResult,
    SendRequest,
    Submission,
    SuppressionRecord,
    WindowCheck,
)

_LOCAL_FAILURES: Final = (ActivityError, ApplicationError, TimeoutError)
"""A local activity's own error arrives bare. Its timeout comes inside an ActivityError when it
happens, and bare when that is replayed."""


async def admit_inline(request: AdmitRequest) -> Admission | None:
    """Admission within this workflow task (a local activity); None if the database did not answer.

    It saves five history events and a round trip for every message.
    """
    try:
        admission: Admission = await workflow.execute_local_activity(
            ADMIT,
            request,
            result_type=Admission,
            start_to_close_timeout=INLINE_ADMIT_TIMEOUT,
            retry_policy=INLINE_ADMIT,
        )
    except _LOCAL_FAILURES:
        return None
    return admission


def start_admitting(request: AdmitRequest) -> ActivityHandle[Admission]:
    """Admission as a regular activity, tried until the database answers."""
    return workflow.start_activity(
        ADMIT,
        request,
        result_type=Admission,
        start_to_close_timeout=BOOKKEEPING_TIMEOUT,
        retry_policy=UNTIL_IT_ANSWERS,
        summary="until the database answers",
    )


async def window_problem(check: WindowCheck) -> str:
    """What is wrong with a send window, if anything; within this workflow task."""
    with contextlib.suppress(*_LOCAL_FAILURES):
        problem: str = await workflow.execute_local_activity(
            CHECK_WINDOW,
            check,
            result_type=str,
            start_to_close_timeout=INLINE_ADMIT_TIMEOUT,
            retry_policy=INLINE_ADMIT,
        )
        return problem
    return ""  # not known now: admission asks again


async def give_back(request: GiveBackRequest) -> None:
    """Let others have the slot; within this workflow task, and left where that does not succeed."""
    with contextlib.suppress(*_LOCAL_FAILURES):
        await workflow.execute_local_activity(
            GIVE_BACK,
            request,
            start_to_close_timeout=INLINE_ADMIT_TIMEOUT,
            retry_policy=INLINE_ADMIT,
        )


def start_awaiting_release(request: ReleaseRequest) -> ActivityHandle[Release]:
    """The end of a sender's pause; the retry policy is what waits."""
    return workflow.start_activity(
        AWAIT_RELEASE,
        request,
        result_type=Release,
        start_to_close_timeout=BOOKKEEPING_TIMEOUT,
        retry_policy=UNTIL_IT_ANSWERS,
        summary="until the sender is resumed",
    )


def start_sending(
    request: SendRequest, *, policy: RetryPolicy, within: timedelta
) -> ActivityHandle[Submission]:
    """Submission under `policy`; no attempt is made after `within`.

    Canceling waits for an attempt that is under way: only its end tells whether it was sent.
    """
    return workflow.start_activity(
        SEND,
        request,
        result_type=Submission,
        task_queue=TWILIO_SENDS_QUEUE,
        start_to_close_timeout=SEND_TIMEOUT,
        # The activity itself begins no POST after its deadline; the margin lets the last one end.
        schedule_to_close_timeout=within + SEND_TIMEOUT,
        retry_policy=policy,
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        priority=Priority(priority_key=request.message.priority.temporal_key),
        summary="POST to Twilio",
    )


async def look_up(message_sid: str) -> LookUp | None:
    """What Twilio says of a message; None if it could not be asked now."""
    try:
        answer: LookUp = await workflow.execute_activity(
            LOOK_UP,
            LookUpRequest(message_sid=message_sid),
            result_type=LookUp,
            start_to_close_timeout=SEND_TIMEOUT,
            retry_policy=A_FEW_TRIES,
            summary="ask Twilio for the status",
        )
    except ActivityError:
        return None
    return answer


async def search(request: SearchRequest) -> SearchResult | None:
    """What Twilio's list says of a message of unknown fate; None if it could not be asked now."""
    try:
        result: SearchResult = await workflow.execute_activity(
            SEARCH,
            request,
            result_type=SearchResult,
            start_to_close_timeout=SEARCH_TIMEOUT,
            retry_policy=A_FEW_TRIES,
            summary="search Twilio's list",
        )
    except ActivityError:
        return None
    return result


async def record_suppression(record: SuppressionRecord) -> None:
    """Record it, however long the database takes to answer."""
    await workflow.execute_activity(
        RECORD_SUPPRESSION,
        record,
        result_type=bool,
        start_to_close_timeout=BOOKKEEPING_TIMEOUT,
        retry_policy=UNTIL_IT_ANSWERS,
        summary="record the suppression",
    )
