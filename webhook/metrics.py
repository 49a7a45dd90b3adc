"""The webhook's metrics; no label holds a number, an id or anything that a client can choose."""

import time

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from signedfor.database_metrics import DatabaseMetrics
from signedfor.metric_registry import new_registry

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15)
"""Twilio gives up at 15 seconds; our own limit is 0.25."""
_METHODS = frozenset({"GET", "HEAD", "POST"})


class Metrics:
    """The counters of one app, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = new_registry()
        self.database = DatabaseMetrics(self.registry)
        self.requests = Counter(
            "signedfor_webhook_requests",
            "HTTP requests answered.",
            ["path", "method", "code"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "signedfor_webhook_request_seconds",
            "Time to answer an HTTP request.",
            ["path"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.refused = Counter(
            "signedfor_webhook_refused",
            "Requests refused because Twilio may not have sent them, by reason.",
            ["path", "reason"],
            registry=self.registry,
        )
        self.status_callbacks = Counter(
            "signedfor_webhook_status_callbacks",
            "Verified status callbacks, by Twilio's status and result.",
            ["status", "result"],
            registry=self.registry,
        )
        self.inbound_messages = Counter(
            "signedfor_webhook_inbound_messages",
            "Verified inbound messages, by kind and result.",
            ["kind", "result"],
            registry=self.registry,
        )

        self.events = Counter(
            "signedfor_webhook_events",
            "Events of Twilio Event Streams in verified batches, by type and result.",
            ["type", "result"],
            registry=self.registry,
        )
        self.dispatched = Counter(
            "signedfor_webhook_dispatched_messages",
            "Inbound messages for which this process started your workflow, or was refused.",
            ["result"],
            registry=self.registry,
        )
        self.undispatched = Gauge(
            "signedfor_webhook_undispatched_messages",
            "Inbound messages that await the start of your workflow, at this process's last poll.",
            registry=self.registry,
        )
        self.undispatched_oldest_seconds = Gauge(
            "signedfor_webhook_undispatched_oldest_seconds",
            "Age of the oldest of them at this process's last poll; 0 if there is none.",
            registry=self.registry,
        )
        self.inbox_receipts = Gauge(
            "signedfor_webhook_inbox_receipts",
            "Receipts in the inbox at this process's last poll; all processes share one inbox.",
            registry=self.registry,
        )
        self.inbox_oldest_seconds = Gauge(
            "signedfor_webhook_inbox_oldest_seconds",
            "Age of the oldest receipt in the inbox at this process's last poll; 0 if empty.",
            registry=self.registry,
        )
        self.inbox_applied = Counter(
            "signedfor_webhook_inbox_applied",
            "Receipts delivered from the inbox by this process, by result.",
            ["result"],
            registry=self.registry,
        )
        self.reviews_pending = Gauge(
            "signedfor_webhook_reviews_pending",
            "Inbound messages that await an operator's review, at this process's last poll.",
            registry=self.registry,
        )
        self.reviews_oldest_seconds = Gauge(
            "signedfor_webhook_reviews_oldest_seconds",
            "Age of the oldest inbound message that awaits review; 0 if there is none.",
            registry=self.registry,
        )
        self.recent_callbacks = Gauge(
            "signedfor_webhook_recent_callbacks",
            "Callbacks that change no outcome, kept in case a message's outcome is unknown.",
            registry=self.registry,
        )
        self.replayed_callbacks = Counter(
            "signedfor_webhook_replayed_callbacks",
            "Recent callbacks signaled to messages whose outcome is unknown, by result.",
            ["result"],
            registry=self.registry,
        )
        # Of the whole system, the same in every process: `webhook/gauges.py`.
        self.backlog_seconds = Gauge(
            "signedfor_sender_backlog_seconds",
            "How long a new message would wait for the busiest sender of the kind.",
            ["sender_kind"],
            registry=self.registry,
        )
        self.backlog_segments = Gauge(
            "signedfor_sender_backlog_segments",
            "Segments that wait for the senders of the kind.",
            ["sender_kind"],
            registry=self.registry,
        )
        self.borrowed_segments = Gauge(
            "signedfor_sender_borrowed_segments",
            "Segments that urgent messages have reserved ahead, in time that others had reserved.",
            ["sender_kind"],
            registry=self.registry,
        )
        self.senders_paused = Gauge(
            "signedfor_senders_paused",
            "Senders that an operator or the breaker has paused.",
            ["sender_kind"],
            registry=self.registry,
        )
        self.breaker_open = Gauge(
            "signedfor_breaker_open",
            "Senders that the breaker has paused, by its reason: too many failed or were filtered, "
            "or too much was spent.",
            ["reason", "sender_kind"],
            registry=self.registry,
        )
        self.account_held = Gauge(
            "signedfor_account_held",
            "1 while Twilio refuses the account's requests (such as 20003) and messages wait.",
            registry=self.registry,
        )
        self.dead_letters_open = Gauge(
            "signedfor_dead_letters_open",
            "Dead letters that await a decision.",
            ["failure_class"],
            registry=self.registry,
        )
        self.workers = Gauge(
            "signedfor_workers",
            "Workers that have polled the task queue in the last two minutes.",
            ["task_queue", "task_type"],
            registry=self.registry,
        )
        self.queue_tasks = Gauge(
            "signedfor_task_queue_tasks",
            "Tasks that wait in the task queue for a worker, approximately.",
            ["task_queue", "task_type"],
            registry=self.registry,
        )
        self.queue_oldest_seconds = Gauge(
            "signedfor_task_queue_oldest_seconds",
            "Age of the oldest of them, approximately; 0 if there is none.",
            ["task_queue", "task_type"],
            registry=self.registry,
        )
        self.polled_timestamp_seconds = Gauge(
            "signedfor_gauges_polled_timestamp_seconds",
            "When the gauges that come from the database, or from Temporal, were last read.",
            ["source"],
            registry=self.registry,
        )

    async def exposition(self, _request: Request) -> Response:
        """All metrics in Prometheus' text format."""
        return Response(
            generate_latest(self.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )


class MetricsMiddleware:
    """ASGI middleware that counts and times requests by path: one of `paths`, or `other`."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, paths: frozenset[str]) -> None:
        self._app = app
        self._metrics = metrics
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in self._paths else "other"
        method = scope["method"] if scope["method"] in _METHODS else "other"
        started = time.perf_counter()

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.requests.labels(path, method, str(message["status"])).inc()
                self._metrics.seconds.labels(path).observe(time.perf_counter() - started)
            await send(message)

        await self._app(scope, receive, counted)
