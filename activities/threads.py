"""How activities that are no coroutines are declared: they run in threads, undisturbed."""

from collections.abc import Callable
from typing import Any, TypeVar

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory, CancelledError

_Activity = TypeVar("_Activity", bound=Callable[..., Any])


def in_thread(name: str) -> Callable[[_Activity], _Activity]:
    """Declare an activity that runs in a thread and ends by itself, within its own timeouts.

    Otherwise the SDK throws an exception into the thread when the activity is canceled or timed
    out, between any two steps of it: a lock is then never given back (a worker could not write to
    its database any more), and a POST that is under way is never reported.
    """
    return activity.defn(name=name, no_thread_cancel_exception=True)


def beat() -> None:
    """Heartbeat, between two steps of a long activity that may end between any two.

    Raises:
        CancelledError: nobody wants it any more.
        ApplicationError: `WorkerStopping`, retryable; another worker goes on.
    """
    activity.heartbeat()
    if activity.is_cancelled():
        raise CancelledError("Canceled.")
    if activity.is_worker_shutdown():
        raise ApplicationError(
            "The worker is stopping; another one goes on.",
            type="WorkerStopping",
            category=ApplicationErrorCategory.BENIGN,
        )
