"""One attempt of the send activity: its number, its deadlines, and how it fails."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from signedfor.clock import MAX_SKEW
from signedfor.contract.failures import RETRYABLE, FailureClass
from signedfor.message_activities import (
    AlreadyClaimed,
    AttemptFailed,
    NotSent,
    PolicySnapshot,
    SendFailureDetail,
    SendRequest,
    SendResult,
    Sent,
)
from signedfor.retry import LATEST_POST_START, MAX_QUICK_TIME, SEND_BACKOFF
from signedfor.store.duplicates import DuplicateOf
from signedfor.twilio import codes
from signedfor.twilio.client import Instant


class Attempt:
    """This attempt of the activity: its number, its own deadline, and how it fails."""

    def __init__(self, request: SendRequest, sender: str | None, policy: PolicySnapshot) -> None:
        self.sender = sender
        self._info = activity.info()
        self._started = Instant.now()
        self._request = request
        self._policy = policy
        self._deadline = request.deadline or request.requested_at + policy.retry_budget
        self._before = request.earlier_attempts + self._info.attempt - 1
        self.number = self._before + 1
        self.is_repeated = self._info.attempt > 1
        self.checked_at = 0.0
        """When consent was checked, by `time.perf_counter`."""

    def check_clock(self) -> None:
        """Fail if this worker's clock differs from Temporal's; its sender's time is not used."""
        # A regular activity has the server's own time: see `is_clock_wrong`.
        if not self._info.is_local or self.is_repeated:
            return
        if abs(datetime.now(UTC) - self._request.requested_at) > MAX_SKEW:
            raise self.failure(
                FailureClass.TEMPORARILY_UNAVAILABLE,
                "The worker's clock differs from Temporal's, or it was too slow to start; nothing "
                "was sent.",
                final=True,  # the task queue may find another worker
                is_made=False,
            )

    def is_clock_wrong(self) -> bool:
        """Whether Temporal started this attempt at a time that cannot be right by our clock.

        Then it is no attempt, and a worker whose clock is right makes it.
        """
        if self._info.is_local:
            return False
        took = timedelta(seconds=Instant.now().seconds_since(self._started))
        skew = datetime.now(UTC) - self._info.started_time - took
        return not -MAX_SKEW <= skew <= LATEST_POST_START

    def latest_start(self) -> Instant:
        """Return until when the POST may begin; fail if that has passed.

        A frozen worker may thaw in the middle of an attempt that Temporal has given up: the
        workflow would not know of its POST. Or the message expires while the worker is frozen. So
        the connection checks this time again immediately before the first byte.
        """
        # In this order, so that a freeze between the two shortens the time that is left.
        instant, now = Instant.now(), datetime.now(UTC)
        # Two measures: our clock against the start time, which is the server's unless the activity
        # is local, and our own elapsed time.
        age = max(
            now - self._info.started_time, timedelta(seconds=instant.seconds_since(self._started))
        )
        if age > LATEST_POST_START or now - self._info.started_time < -MAX_SKEW:
            raise self.failure(
                FailureClass.TEMPORARILY_UNAVAILABLE,
                "The worker reached this attempt too late to begin its POST, or its clock differs "
                "from Temporal's; nothing was sent.",
            )
        if now >= self._deadline:
            raise self.failure(
                FailureClass.TEMPORARILY_UNAVAILABLE,
                "The retry budget ended before this attempt; nothing was sent.",
                final=True,
            )
        ends = [self._deadline, self._request.message.expires_at]
        left = min(LATEST_POST_START - age, *(end - now for end in ends if end is not None))
        return instant.after(left.total_seconds())

    def result(self, decision: Sent | NotSent, *, is_made: bool = False) -> SendResult:
        """The activity's result; only a POST counts as an attempt, also one of an earlier run."""
        attempts = self.number if is_made else self._before
        if isinstance(decision, AlreadyClaimed):
            attempts = max(attempts, decision.attempts)
        return SendResult(
            attempts=attempts,
            submission=self._request.submission,
            sender=self.sender,
            policy=self._policy,
            decision=decision,
        )

    def report_to(self, report: Callable[[AttemptFailed], None], error: ApplicationError) -> None:
        """Report a failed attempt that Temporal will repeat.

        A local activity cannot: its workflow takes in nothing while the workflow task lasts.
        """
        if not self._info.is_local:
            report(
                AttemptFailed(
                    attempts=self.number,
                    error_code=error.details[0].error_code,
                    next_attempt_at=datetime.now(UTC) + (error.next_retry_delay or timedelta(0)),
                )
            )

    def not_reached(self) -> ApplicationError:
        """There is no connection to Twilio."""
        return self.failure(
            FailureClass.TEMPORARILY_UNAVAILABLE,
            "Twilio could not be reached in time; nothing was sent.",
        )

    def duplicate(self, other: DuplicateOf) -> ApplicationError:
        """The other message has the same content, for the same person."""
        return self.failure(
            FailureClass.DUPLICATE,
            f"Message {other.message_id} with the same content was sent to the same person at "
            f"{other.started_at:%Y-%m-%d %H:%M:%S} UTC; nothing was sent.",
            duplicate_of=other.message_id,
            is_made=False,
        )

    def _is_last_quick_one(self, wait: timedelta) -> bool:
        """Whether the next attempt is for the workflow to begin, after this wait."""
        max_wait = self._request.max_retry_wait
        if max_wait is None:
            return False
        next_after = datetime.now(UTC) + wait - self._request.requested_at
        return wait > max_wait or next_after > MAX_QUICK_TIME

    def failure(
        self,
        failure_class: FailureClass,
        text: str,
        *,
        code: int | None = None,
        http_status: int | None = None,
        retry_after: timedelta | None = None,
        final: bool = False,
        is_made: bool = True,
        duplicate_of: str | None = None,
    ) -> ApplicationError:
        """The activity's error. `text` must be ours: Twilio's own texts repeat numbers."""
        wait = None
        if failure_class in RETRYABLE:
            least = max(timedelta(seconds=codes.delay_for(code)), retry_after or timedelta(0))
            wait = SEND_BACKOFF.wait(self.number, at_least=least)
            final = final or self._is_last_quick_one(wait)
        return ApplicationError(
            text,
            SendFailureDetail(
                error_code=code,
                http_status=http_status,
                attempts=self.number if is_made else self._before,
                submission=self._request.submission,
                retry_after=wait,
                duplicate_of=duplicate_of,
                sender=self.sender,
                policy=self._policy,
            ),
            type=failure_class.value,
            non_retryable=final,
            next_retry_delay=wait,
            # Throttling and outages are expected: the retry policy handles them, and they are no
            # errors of the worker.
            category=ApplicationErrorCategory.BENIGN
            if failure_class in RETRYABLE
            else ApplicationErrorCategory.UNSPECIFIED,
        )
