"""The web application: its endpoints, their dependencies, and its middleware."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from datetime import timedelta
from typing import Final

from fastapi import FastAPI
from sqlalchemy import Engine
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from temporalio.client import Client

from signedfor.contract import EVENTS_PATH, INBOUND_PATH, STATUS_PATH
from signedfor.inbound_settings import Role, comparing_inbound_settings
from signedfor.logging import log_unexpected
from signedfor.settings import Settings
from signedfor.store.account_hold import AccountHold
from signedfor.store.breakers import Breakers
from signedfor.store.inbound import InboundMessages
from signedfor.store.inbound_outbox import InboundOutbox
from signedfor.store.inbox import Inbox
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.reassignments import Reassignments
from webhook.events import EventsEndpoint
from webhook.gauges import SystemGauges
from webhook.health import Readiness
from webhook.inbound import InboundEndpoint
from webhook.inbound_dispatcher import InboundDispatcher
from webhook.inbox import CallbackInbox, InboxDrainer
from webhook.metrics import Metrics, MetricsMiddleware
from webhook.probes import PROBE_PATHS, Probes
from webhook.recent_callbacks import CallbackReplayer, RecentCallbacks
from webhook.replies import read_replies
from webhook.resilience import CircuitBreaker, DatabaseThreads
from webhook.reviews import PendingReviews
from webhook.signature import Signatures, Verifier
from webhook.status import StatusEndpoint
from webhook.temporal import InboundRecorder, InboundWorkflows, StatusSignals

_log = logging.getLogger(__name__)

_PATHS = frozenset({STATUS_PATH, INBOUND_PATH, EVENTS_PATH, *PROBE_PATHS})

SIGNAL_TIMEOUT: Final = timedelta(seconds=1)
"""For message and dead letter together. Short, because the inbox stores what Temporal does not."""
PATIENT_TIMEOUT: Final = timedelta(seconds=3)
"""In the background, and for calls without an inbox behind them; Twilio waits 15 seconds in all."""
TEMPORAL_RETRY_SECONDS: Final = 5.0
"""After a failure, callbacks skip Temporal for this long, or until the drainer reaches it."""
DATABASE_RETRY_SECONDS: Final = 1.0


def create_app(
    settings: Settings,
    *,
    client: Client,
    engine: Engine,
    probes: Probes | None = None,
    signal_timeout: timedelta = SIGNAL_TIMEOUT,
    patient_timeout: timedelta = PATIENT_TIMEOUT,
) -> FastAPI:
    """The application.

    `client` must use `signedfor.payloads.data_converter` and may be lazy: the app starts, and
    answers `/healthz`, without Temporal. The caller closes client and engine. During its lifespan
    the app drains the callback inbox, replays recent callbacks, keeps the gauges up to date and
    starts the service's workflows for inbound messages in the background. It serves the probes too,
    unless they have an address of their own.

    Raises:
        InvalidReplies: INBOUND_REPLIES_FILE cannot be used.
    """
    if probes is None:
        probes = Probes(readiness=Readiness(client=client, engine=engine), metrics=Metrics())
    metrics = probes.metrics
    metrics.database.observe(engine)
    verify = Verifier(
        signatures=Signatures(
            public_base_url=settings.public_base_url,
            auth_token=settings.twilio_auth_token,
            previous_auth_token=settings.twilio_previous_auth_token,
            shared_keys=settings.twilio_webhook_shared_keys,
        ),
        account_sid=settings.twilio_account_sid,
        metrics=metrics,
    )
    threads = DatabaseThreads(engine)
    inbox = Inbox(engine)
    inbound_messages = InboundMessages(
        engine,
        scope=settings.opt_out_scope,
        review_suppresses=settings.review_suppresses,
        texts=settings.inbound_texts,
    )
    callback_inbox = CallbackInbox(inbox, threads=threads, metrics=metrics)
    temporal = CircuitBreaker(seconds=TEMPORAL_RETRY_SECONDS)
    patient_signals = StatusSignals(client, timeout=patient_timeout)
    drainer = InboxDrainer(
        inbox=inbox,
        callback_inbox=callback_inbox,
        signals=patient_signals,
        breaker=temporal,
        threads=threads,
        metrics=metrics,
    )
    recent = RecentCallbacks()
    replayer = CallbackReplayer(
        recent=recent,
        client=client,
        signals=patient_signals,
        timeout=patient_timeout,
        metrics=metrics,
    )
    status = StatusEndpoint(
        verify=verify,
        signals=StatusSignals(client, timeout=signal_timeout),
        inbox=callback_inbox,
        recent=recent,
        temporal=temporal,
        metrics=metrics,
        forward_all=settings.forward_all_statuses,
    )
    dispatcher = _dispatcher(
        settings,
        client=client,
        timeout=patient_timeout,
        engine=engine,
        threads=threads,
        metrics=metrics,
    )
    inbound = InboundEndpoint(
        verify=verify,
        inbound_messages=inbound_messages,
        replies=read_replies(settings.inbound_replies_file),
        threads=threads,
        database=CircuitBreaker(seconds=DATABASE_RETRY_SECONDS),
        recorder=InboundRecorder(client, timeout=patient_timeout),
        recorded=dispatcher.wake if dispatcher else lambda: None,
        metrics=metrics,
    )
    pending_reviews = PendingReviews(inbound_messages, threads=threads, metrics=metrics)
    gauges = SystemGauges(
        rate_limiter=RateLimiter(
            engine,
            rates=settings.default_segments_per_second,
            account_rate=settings.max_sends_per_second,
        ),
        account_hold=AccountHold(engine),
        breakers=Breakers(engine),
        client=client,
        threads=threads,
        metrics=metrics,
        timeout=patient_timeout,
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        dispatching = dispatcher.running() if dispatcher else nullcontext()
        async with (
            drainer.running(),
            replayer.running(),
            pending_reviews.running(),
            gauges.running(),
            comparing_inbound_settings(engine, settings, Role.WEBHOOK),
            dispatching,
        ):
            yield

    app = FastAPI(
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        # A redirect for a trailing slash would be built from the Host header.
        redirect_slashes=False,
        # It would export queries, of requests that nobody has signed too.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        lifespan=lifespan,
    )
    # Plain routes: the endpoints read the raw request, there is nothing for FastAPI to parse.
    # A webhook configured as GET in Twilio is answered 405: its fields belong in a body.
    app.add_route(STATUS_PATH, status.receive, methods=["POST"])
    app.add_route(INBOUND_PATH, inbound.receive, methods=["POST"])
    if settings.event_streams:
        events = EventsEndpoint(
            verify=verify,
            status=status,
            inbound=inbound,
            reassignments=Reassignments(engine, scope=settings.opt_out_scope),
            threads=threads,
            metrics=metrics,
            account_sid=settings.twilio_account_sid,
            status_url=settings.public_base_url + STATUS_PATH,
        )
        app.add_route(EVENTS_PATH, events.receive, methods=["POST"])
    if settings.webhook_metrics_address is None:
        app.routes.extend(probes.routes)
    app.add_middleware(ErrorMiddleware)
    app.add_middleware(MetricsMiddleware, metrics=metrics, paths=_PATHS)
    return app


def _dispatcher(
    settings: Settings,
    *,
    client: Client,
    timeout: timedelta,
    engine: Engine,
    threads: DatabaseThreads,
    metrics: Metrics,
) -> InboundDispatcher | None:
    """What starts the service's workflow for each inbound message; None if it has none."""
    if settings.inbound_workflow is None or settings.inbound_task_queue is None:
        return None
    return InboundDispatcher(
        outbox=InboundOutbox(engine, keeps_texts=settings.inbound_texts.keeps),
        workflows=InboundWorkflows(
            client,
            workflow_type=settings.inbound_workflow,
            task_queue=settings.inbound_task_queue,
            timeout=timeout,
        ),
        threads=threads,
        metrics=metrics,
    )


class ErrorMiddleware:
    """ASGI middleware that answers 500 without details for any unexpected exception.

    It is logged without its text, which may quote a phone number or a message.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        has_started = False

        async def tracking_send(message: Message) -> None:
            nonlocal has_started
            has_started = has_started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, tracking_send)
        except Exception as error:  # noqa: BLE001 - whatever it is, its text must not be logged
            log_unexpected(_log, error)
            if not has_started and scope["type"] == "http":
                await JSONResponse({"detail": "Internal error."}, 500)(scope, receive, send)
