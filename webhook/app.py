"""The web application: which endpoint does what, and nothing else."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import Engine
from temporalio.client import Client

from messaging.consent import Scope
from messaging.contract import INBOUND_PATH, STATUS_PATH
from store.inbound import InboundMessages
from webhook.guard import Guarded
from webhook.health import Readiness, healthz
from webhook.inbound import InboundEndpoint
from webhook.metrics import Measured, Metrics
from webhook.signals import Receipts
from webhook.signature import Signatures
from webhook.status import StatusEndpoint
from webhook.verify import Verifier

HEALTH_PATH: Final = "/healthz"
READY_PATH: Final = "/readyz"
METRICS_PATH: Final = "/metrics"
_PATHS = frozenset({STATUS_PATH, INBOUND_PATH, HEALTH_PATH, READY_PATH, METRICS_PATH})


@dataclass(frozen=True, kw_only=True)
class WebhookConfig:
    """What the webhook must be told; ValueError from `create_app` names what is wrong."""

    public_base_url: str
    """What Twilio calls us by, exactly: scheme, host, port, and a path prefix the proxy strips."""
    account_sid: str
    """Callbacks about other accounts' messages are refused."""
    auth_token: SecretStr
    previous_auth_token: SecretStr | None = None
    """Accepted as well, while the token is rotated."""
    forward_all_statuses: bool = False
    """Signal every status, not only those that can change a message's outcome."""
    opt_out_scope: Scope = Scope.EVERYTHING
    """What a STOP covers."""
    signal_timeout: timedelta = timedelta(seconds=3)
    """For message and dead letter together; Twilio gives all its tries 15 seconds."""


def create_app(config: WebhookConfig, *, client: Client, engine: Engine) -> FastAPI:
    """The application.

    `client` needs our `data_converter` and may be lazy: the app starts, and answers `/healthz`,
    without Temporal. Caller keeps and closes both.
    """
    tokens = [config.auth_token]
    if config.previous_auth_token is not None:
        tokens.append(config.previous_auth_token)
    metrics = Metrics()
    verify = Verifier(
        signatures=Signatures(public_base_url=config.public_base_url, auth_tokens=tokens),
        account_sid=config.account_sid,
        metrics=metrics,
    )
    status = StatusEndpoint(
        verify=verify,
        receipts=Receipts(client, timeout=config.signal_timeout),
        metrics=metrics,
        forward_all=config.forward_all_statuses,
    )
    inbound = InboundEndpoint(
        verify=verify,
        inbound_messages=InboundMessages(engine, scope=config.opt_out_scope),
        metrics=metrics,
    )
    readiness = Readiness(client=client, engine=engine)

    # A redirect for a slash too many would be built from the Host header.
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
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
