"""`python -m webhook`: the webhook as a process."""

import contextlib
import sys
from collections.abc import AsyncIterator
from typing import Final

import uvloop
from starlette.applications import Starlette

from signedfor.errors import InvalidSettings
from signedfor.http_server import Limits, Server
from signedfor.logging import configure_logging
from signedfor.process import collect_garbage_less, end_process, keep_memory_private
from signedfor.secret_files import read_secret_files
from signedfor.settings import Settings, load_settings
from signedfor.store.database import InvalidDatabaseUrl, open_engine
from signedfor.temporal import TemporalUnavailable, connect_temporal
from signedfor.trace_export import exporting_traces
from webhook.app import create_app
from webhook.body import READ_SECONDS
from webhook.health import Readiness
from webhook.metrics import Metrics
from webhook.probes import Probes
from webhook.replies import InvalidReplies
from webhook.resilience import MAX_TRANSACTIONS

_LIMITS: Final = Limits(body_seconds=READ_SECONDS + 1, answer_seconds=30)
"""The application answers a late body itself, just before the server closes the connection."""
_PROBE_LIMITS: Final = Limits(connections=50, idle_connections=10)


def main() -> int:
    """Run the webhook: 0 after a clean stop, 1 with a one-line error if it cannot start."""
    keep_memory_private()
    collect_garbage_less()
    try:
        read_secret_files()
        settings = load_settings()
        configure_logging(settings.log_level, settings.log_format)
        with exporting_traces("signedfor-webhook"):
            return uvloop.run(_serve(settings))
    except (InvalidSettings, InvalidReplies, InvalidDatabaseUrl, TemporalUnavailable) as error:
        sys.stderr.write(f"signedfor webhook: {error}\n")
        return 1


async def _serve(settings: Settings) -> int:
    # One more than the transactions use, for /readyz.
    engine = open_engine(settings.database_url, pool_size=MAX_TRANSACTIONS + 1)
    try:
        # Lazy: Twilio and the health check get correct answers without Temporal too.
        client = await connect_temporal(lazy=True, logs_here=True)
        probes = Probes(readiness=Readiness(client=client, engine=engine), metrics=Metrics())
        server = Server(
            create_app(settings, client=client, engine=engine, probes=probes),
            host=settings.webhook_host,
            port=settings.webhook_port,
            limits=_LIMITS,
        )
        async with _serving_probes(settings.webhook_metrics_address, probes):
            return 0 if await server.run_to_end() else 1
    finally:
        engine.dispose()


@contextlib.asynccontextmanager
async def _serving_probes(address: str | None, probes: Probes) -> AsyncIterator[None]:
    """Serve the probes at an address of their own, if there is one."""
    if address is None:
        yield
        return
    host, _, port = address.rpartition(":")
    server = Server(
        Starlette(routes=probes.routes), host=host.strip("[]"), port=int(port), limits=_PROBE_LIMITS
    )
    try:
        listening = server.listening()
    except (OSError, OverflowError) as error:
        raise InvalidSettings(
            "WEBHOOK_METRICS_ADDRESS: cannot be served there "
            f"({getattr(error, 'strerror', None) or type(error).__name__}); is the port taken?"
        ) from None
    async with server.beside(listening):
        yield


if __name__ == "__main__":
    end_process(main())
