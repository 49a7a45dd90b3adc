"""Whether this worker's clock agrees with Temporal's."""

from datetime import UTC, datetime

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from signedfor.clock import MAX_SKEW


def check_clock(server_time: datetime) -> None:
    """Refuse to work if this clock is far from `server_time`, Temporal's time a moment ago.

    Raises:
        ApplicationError: `ClockSkew`, retryable, so that another worker may take the task.
    """
    skew = datetime.now(UTC) - server_time
    if abs(skew) > MAX_SKEW:
        raise ApplicationError(
            f"This worker's clock differs from Temporal's by {skew.total_seconds():.0f} s, or it "
            "was too slow to start. Synchronize it; until then it sends nothing.",
            type="ClockSkew",
            category=ApplicationErrorCategory.BENIGN,
        )
