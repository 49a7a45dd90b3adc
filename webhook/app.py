"""The web application: which endpoint does what, and nothing else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import FastAPI
from sqlalchemy import Engine
from temporalio.client import Client

from signedfor.contract import INBOUND_PATH, STATUS_PATH
from signedfor.store.inbound import InboundMessages
from signedfor.store.inbox import Inbox
from webhook.breaker import Breaker
from webhook.config import WebhookConfig
from webhook.drain import Drainer
from webhook.guard import Guarded
from webhook.health import Readiness, healthz
from webhook.inbound import InboundEndpoint
from webhook.inbox import ReceiptInbox
from webhook.metrics import Measured, Metrics
from webhook.records import InboundRecords
from webhook.remembered import Remembered, Reminder
from webhook.signals import Receipts
from webhook.signature import Signatures
from webhook.status import StatusEndpoint
from webhook.threads import DatabaseThreads
from webhook.verify import Verifier

HEALTH_PATH: Final = "/healthz"
READY_PATH: Final = "/readyz"
METRICS_PATH: Final = "/metrics"
_PATHS = frozenset({STATUS_PATH, INBOUND_PATH, HEALTH_PATH, READY_PATH, METRICS_PATH})

TEMPORAL_AWAY_SECONDS: Final = 5.0
"""How long nobody waits for Temporal after a failure; sooner if the drainer finds it back."""
DATABASE_AWAY_SECONDS: Final = 1.0


def create_app(config: WebhookConfig, *, client: Client, engine: Engine) -> FastAPI:
    """The application.

    `client` needs our `data_converter` and may be lazy: the app starts, and answers `/healthz`,
    without Temporal. The caller keeps and closes both. While its lifespan lasts, the app drains the
    inbox and reminds messages of unknown fate in the background.

    Raises:
        InvalidConfig: names the setting that cannot be used.
    """
    metrics = Metrics()
    verify = Verifier(
        signatures=Signatures(
            public_base_url=config.public_base_url, auth_tokens=config.auth_tokens
        ),
        account_sid=config.account_sid,
        metrics=metrics,
    )
    threads = DatabaseThreads(engine)
    inbox = Inbox(engine)
    known = ReceiptInbox(inbox, threads=threads, metrics=metrics)
    temporal = Breaker(seconds=TEMPORAL_AWAY_SECONDS)
    patient_receipts = Receipts(client, timeout=config.patient_timeout)
    drainer = Drainer(
        inbox=inbox,
        known=known,
        receipts=patient_receipts,
        breaker=temporal,
        threads=threads,
        metrics=metrics,
    )
    remembered = Remembered()
    reminder = Reminder(
        remembered=remembered,
        client=client,
        receipts=patient_receipts,
        timeout=config.patient_timeout,
        metrics=metrics,
    )
    status = StatusEndpoint(
        verify=verify,
        receipts=Receipts(client, timeout=config.signal_timeout),
        inbox=known,
        remembered=remembered,
        temporal=temporal,
        metrics=metrics,
        forward_all=config.forward_all_statuses,
    )
    inbound = InboundEndpoint(
        verify=verify,
        inbound_messages=InboundMessages(engine, scope=config.opt_out_scope),
        threads=threads,
        database=Breaker(seconds=DATABASE_AWAY_SECONDS),
        records=InboundRecords(client, timeout=config.patient_timeout),
        metrics=metrics,
    )
    readiness = Readiness(client=client, engine=engine)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with drainer.running(), reminder.running():
            yield

    # A redirect for a slash too many would be built from the Host header.
    app = FastAPI(
        openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False, lifespan=lifespan
    )
    # Plain routes: the endpoints read the raw request, there is nothing for FastAPI to parse.
    # Twilio can be told to use GET; it is answered 405, for a callback belongs into a body.
    app.add_route(STATUS_PATH, status.receive, methods=["POST"])
    app.add_route(INBOUND_PATH, inbound.receive, methods=["POST"])
    app.add_route(HEALTH_PATH, healthz, methods=["GET"])
    app.add_route(READY_PATH, readiness.readyz, methods=["GET"])
    app.add_route(METRICS_PATH, metrics.exposition, methods=["GET"])
    app.add_middleware(Guarded)
    app.add_middleware(Measured, metrics=metrics, paths=_PATHS)
    return app
