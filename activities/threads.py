"""How activities that are not coroutines are declared: they run in threads, undisturbed."""

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory, CancelledError

in_thread = activity.defn(no_thread_cancel_exception=True)
"""Declares an activity that runs in a thread and ends by itself, within its own timeouts.

Otherwise the SDK raises an exception in the thread when the activity is canceled or timed out,
between any two of its instructions: a lock is then never released (a worker could no longer write
to its database), and a POST that is under way is never reported.
"""


def heartbeat() -> None:
    """Heartbeat, between two steps of a long activity that may end between any two.

    Raises:
        CancelledError: its result is no longer wanted.
        ApplicationError: `WorkerStopping`, retryable; another worker continues.
    """
    activity.heartbeat()
    if activity.is_cancelled():
        raise CancelledError("Canceled.")
    if activity.is_worker_shutdown():
        raise ApplicationError(
            "The worker is stopping; another one continues.",
            type="WorkerStopping",
            category=ApplicationErrorCategory.BENIGN,
        )
