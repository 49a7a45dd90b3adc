"""The worker's own metrics, besides those of its workflows and of Temporal's SDK."""

from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from signedfor import metric_labels
from signedfor.contract.failures import FailureClass
from signedfor.database_metrics import DatabaseMetrics
from signedfor.metric_registry import new_registry
from signedfor.metrics import LATENCY_BUCKETS
from signedfor.twilio.client import Operation

_PACING_BUCKETS = (0.1, 1, 5, 10, 30, 60, 300, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400)
ACCEPTED: Final = "accepted"
"""The result of a submission that Twilio took."""
_SUBMISSION_RESULTS: Final = frozenset({ACCEPTED, *FailureClass})


class ClaimResult(StrEnum):
    """What became of an attempt's claim on its submission, immediately before the POST."""

    CLAIMED = "claimed"
    """The POST is made."""
    DEFERRED = "deferred"
    """Its sender, or the account, is busy: it waits for a reserved time."""
    REQUEUED = "requeued"
    """It came at its reserved time, which others have used or which was too early: it waits again.
    """
    ALREADY_CLAIMED = "already_claimed"
    """An earlier attempt has the claim, and Twilio may have the message."""
    SUPPRESSED = "suppressed"
    NO_OPT_IN = "no_opt_in"
    PAUSED = "paused"
    CAMPAIGN_CANCELED = "campaign_canceled"
    ACCOUNT_HELD = "account_held"
    LIMIT_REACHED = "limit_reached"
    """A rule of `MESSAGE_LIMITS` has no place: it waits."""
    DUPLICATE = "duplicate"
    """Another message with the same content was sent to the person (`DUPLICATE_WINDOW_SECONDS`)."""


class WorkerMetrics:
    """The counters of one worker, in a registry of their own; thread-safe."""

    def __init__(self) -> None:
        self.registry = new_registry()
        self.database = DatabaseMetrics(self.registry)
        self.claims = Counter(
            "signedfor_claims",
            "Claims of a submission immediately before its POST, by result; all but `claimed` are "
            "refused.",
            ["result"],
            registry=self.registry,
        )
        self.pacing_wait_seconds = Histogram(
            "signedfor_pacing_wait_seconds",
            "How long a message has to wait for its sender's rate, as found at its first claim.",
            ["sender_kind"],
            buckets=_PACING_BUCKETS,
            registry=self.registry,
        )
        self.submissions = Counter(
            "signedfor_submissions",
            "Submissions to Twilio by result: `accepted`, or the failure class.",
            ["result", "sender_kind"],
            registry=self.registry,
        )
        self.twilio_errors = Counter(
            "signedfor_twilio_errors",
            "Refused submissions by Twilio's error code; `other` if our table does not have it.",
            ["code"],
            registry=self.registry,
        )
        self.twilio_requests = Counter(
            "signedfor_twilio_requests",
            "Requests to Twilio by operation and HTTP status; `none` without an answer.",
            ["operation", "status"],
            registry=self.registry,
        )
        self.twilio_request_seconds = Histogram(
            "signedfor_twilio_request_seconds",
            "Time of a request to Twilio, up to the end of the answer.",
            ["operation"],
            buckets=LATENCY_BUCKETS,
            registry=self.registry,
        )
        self.event_loop_silence_seconds = Gauge(
            "signedfor_event_loop_silence_seconds",
            "Time since the worker's event loop last ran, up to a second in a healthy one.",
            registry=self.registry,
        )
        self.is_serving = Gauge(
            "signedfor_worker_serving",
            "1 while the worker takes messages; 0 before that, with a wrong clock, and at its end.",
            registry=self.registry,
        )
        self._operation_seconds = {
            operation: self.twilio_request_seconds.labels(operation.value)
            for operation in Operation
        }
        self._claims = {result: self.claims.labels(result.value) for result in ClaimResult}

    def show_health(
        self, *, silence_seconds: Callable[[], float], is_serving: Callable[[], bool]
    ) -> None:
        """Publish the health that these report."""
        self.event_loop_silence_seconds.set_function(silence_seconds)
        self.is_serving.set_function(lambda: float(is_serving()))

    def count_claim(self, result: ClaimResult) -> None:
        """Count an attempt's claim."""
        self._claims[result].inc()

    def record_pacing_wait(self, sender: str, wait: timedelta) -> None:
        """Record how long a message has to wait for its sender's rate."""
        kind = metric_labels.sender_kind(sender)
        self.pacing_wait_seconds.labels(kind).observe(wait.total_seconds())

    def count_submission(self, result: str | None, sender: str) -> None:
        """Count a submission: `ACCEPTED`, or the class with which it failed."""
        if result not in _SUBMISSION_RESULTS:
            result = metric_labels.OTHER
        self.submissions.labels(result, metric_labels.sender_kind(sender)).inc()

    def count_error(self, code: int | None) -> None:
        """Count a submission that Twilio refused."""
        self.twilio_errors.labels(metric_labels.twilio_code(code)).inc()

    def observe_request(self, operation: Operation, status: int | None, seconds: float) -> None:
        """Take in a request to Twilio."""
        self.twilio_requests.labels(operation.value, metric_labels.http_status(status)).inc()
        self._operation_seconds[operation].observe(seconds)
