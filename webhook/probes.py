"""The paths for whoever operates the webhook: `/healthz`, `/readyz` and `/metrics`."""

from dataclasses import dataclass
from typing import Final

from starlette.routing import Route

from webhook.health import Readiness, healthz
from webhook.metrics import Metrics

HEALTH_PATH: Final = "/healthz"
READY_PATH: Final = "/readyz"
METRICS_PATH: Final = "/metrics"
PROBE_PATHS: Final = frozenset({HEALTH_PATH, READY_PATH, METRICS_PATH})


@dataclass(frozen=True, kw_only=True)
class Probes:
    """What they answer from."""

    readiness: Readiness
    metrics: Metrics

    @property
    def routes(self) -> list[Route]:
        """The paths, to be served with Twilio's, or at an address of their own."""
        return [
            Route(HEALTH_PATH, healthz, methods=["GET"]),
            Route(READY_PATH, self.readiness.readyz, methods=["GET"]),
            Route(METRICS_PATH, self.metrics.exposition, methods=["GET"]),
        ]
