"""The declarative retry policy: which failures are tried again, when, and for how long."""

import random  # noqa: TID251 - jitter is drawn in activities
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from temporalio.common import RetryPolicy

from signedfor.contract.failures import TERMINAL

CONNECT_TIMEOUT: Final = timedelta(seconds=3)
READ_TIMEOUT: Final = timedelta(seconds=10)
SEND_TIMEOUT: Final = timedelta(seconds=20)
"""Start-to-close of the send activity: the last check, then one POST with both timeouts above."""
LATEST_POST_START: Final = SEND_TIMEOUT - CONNECT_TIMEOUT - READ_TIMEOUT - timedelta(seconds=1)
"""An attempt older than this does not begin its POST: it might outlive its own deadline."""

ATTEMPT_TIMED_OUT: Final = "TemporalTimeout:StartToClose"
"""Temporal's own name for an attempt that never reported back. It may have sent: not retried."""

TERMINAL_ERROR_TYPES: Final = (*sorted(TERMINAL), ATTEMPT_TIMED_OUT)


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """Exponential waits with jitter, so that many messages do not retry at the same time."""

    initial: timedelta
    factor: float
    maximum: timedelta
    jitter: float
    """Each wait is drawn from [1 - jitter, 1 + jitter] times its nominal length."""

    def wait(
        self,
        attempt: int,
        *,
        at_least: timedelta = timedelta(0),
        draw: float | None = None,
    ) -> timedelta:
        """How long to wait after failed attempt number `attempt` (from 1).

        A code's own minimum (`at_least`) is kept; jitter then only lengthens the wait.
        `draw` in [0, 1) stands in for chance.
        """
        # In float seconds with a bounded exponent, because a timedelta or float would overflow
        # before a message runs out of attempts.
        grown = self.initial.total_seconds() * self.factor ** min(attempt - 1, 60)
        nominal = min(timedelta(seconds=min(grown, self.maximum.total_seconds())), self.maximum)
        chance = random.random() if draw is None else draw  # noqa: S311 - jitter, not a secret
        if at_least > nominal * (1 - self.jitter):
            return max(at_least, nominal) * (1 + self.jitter * chance)
        return nominal * (1 - self.jitter + 2 * self.jitter * chance)


SEND_BACKOFF: Final = Backoff(
    initial=timedelta(seconds=0.5), factor=2.0, maximum=timedelta(minutes=2), jitter=0.2
)

QUICK_ATTEMPTS: Final = 3
"""Attempts within the workflow task, before the message is shown as `retrying`: two seconds."""
MAX_QUICK_WAIT: Final = timedelta(seconds=2)
"""A longer wait is shown as `retrying` from its start. A workflow task that waits keeps its slot.
"""
MAX_QUICK_TIME: Final = timedelta(seconds=4)
"""No quick attempt begins later than this after the first: one without a connection takes seconds.
"""

_DECLARED: Final = RetryPolicy(
    # The activity sets each wait (`next_retry_delay`), with jitter and the minimum of the code;
    # these values apply only where it cannot.
    initial_interval=SEND_BACKOFF.initial,
    backoff_coefficient=SEND_BACKOFF.factor,
    maximum_interval=SEND_BACKOFF.maximum,
    non_retryable_error_types=TERMINAL_ERROR_TYPES,
)
QUICK_SEND: Final = replace(_DECLARED, maximum_attempts=QUICK_ATTEMPTS)
"""The first attempts: most failures are over in seconds."""
PATIENT_SEND: Final = _DECLARED
"""The attempts after that, until the retry budget ends."""

MAX_RESENDS: Final = 2
"""How often a message that Twilio does not have is sent again before it becomes a dead letter."""
ABSENT_SEARCHES_NEEDED: Final = 2
"""Searches without a result after which the message counts as not accepted."""
MAX_SEARCHES: Final = 20
"""Searches before an unresolved message becomes a dead letter; later ones are minutes apart."""
MAX_WAIT_FACTOR: Final = 20
"""The longest wait between two searches, in multiples of the first: ten minutes by default."""
SEARCH_TIMEOUT: Final = timedelta(seconds=30)

DATABASE_TIMEOUT: Final = timedelta(seconds=10)
LOCAL_RETRY: Final = RetryPolicy(initial_interval=timedelta(milliseconds=100), maximum_attempts=2)
"""For local activities, within the workflow task: the cheapest, and nearly always enough."""
LOCAL_TIMEOUT: Final = timedelta(seconds=4)
"""Well under the ten seconds of Temporal's workflow task timeout."""
UNLIMITED_RETRY: Final = RetryPolicy(
    initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30)
)
"""The database is ours and must come back: nothing is sent until it does."""
FREQUENT_RETRY: Final = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=1.5,
    maximum_interval=timedelta(seconds=5),
)
"""The same, where a STOP waits for it."""
BOUNDED_RETRY: Final = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    maximum_interval=timedelta(seconds=10),
    maximum_attempts=4,
)
"""For requests that are repeated later anyway."""
