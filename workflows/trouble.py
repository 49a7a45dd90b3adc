"""What a failed send means: the failure class, read from Temporal's error."""

from dataclasses import dataclass

from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    TimeoutError,  # noqa: A004 - Temporal's own name for it
    TimeoutType,
)

from signedfor.contract.failures import FailureClass
from signedfor.steps import SendFailure


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Why a send did not end in a submission."""

    failure_class: FailureClass
    detail: SendFailure
    canceled: bool = False
    """It was canceled between attempts: nothing of it is under way."""


def canceled_trouble(*, attempts: int) -> Trouble:
    """A send that was canceled before an attempt, or between two."""
    return Trouble(
        failure_class=FailureClass.TEMPORARILY_UNAVAILABLE,
        detail=SendFailure(attempts=attempts),
        canceled=True,
    )


def unheard_trouble(*, attempts: int) -> Trouble:
    """A send that ended without our hearing how: it may have been taken."""
    return Trouble(
        failure_class=FailureClass.OUTCOME_UNKNOWN, detail=SendFailure(attempts=attempts)
    )


def overdue_trouble(*, attempts: int, error_code: int | None) -> Trouble:
    """A send whose retry budget was over before its next attempt; the last trouble stands."""
    return Trouble(
        failure_class=FailureClass.TEMPORARILY_UNAVAILABLE,
        detail=SendFailure(attempts=attempts, error_code=error_code),
    )


def trouble_in(error: ActivityError, *, attempts_before: int) -> Trouble:
    """The failure class of a send activity that failed.

    Terminal classes and worker death reach here at once, `TemporarilyUnavailable` when the policy
    has ended. Whatever happens after a POST has begun is classed by the activity itself, so an
    error without a class comes from before it and means that nothing was sent.
    """
    one_more = SendFailure(attempts=attempts_before + 1)
    cause = error.cause
    if isinstance(cause, CancelledError):
        return canceled_trouble(attempts=attempts_before)
    if isinstance(cause, TimeoutError):
        if cause.type is TimeoutType.SCHEDULE_TO_START:
            # No worker took it up.
            return Trouble(
                failure_class=FailureClass.TEMPORARILY_UNAVAILABLE,
                detail=SendFailure(attempts=attempts_before),
            )
        return Trouble(failure_class=FailureClass.OUTCOME_UNKNOWN, detail=one_more)
    if isinstance(cause, ApplicationError) and cause.type in set(FailureClass):
        detail = SendFailure.model_validate(cause.details[0]) if cause.details else one_more
        return Trouble(failure_class=FailureClass(cause.type), detail=detail)
    return Trouble(failure_class=FailureClass.TEMPORARILY_UNAVAILABLE, detail=one_more)
