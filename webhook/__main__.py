"""`python -m webhook`: the webhook as a process."""

import asyncio
import signal
import sys

import uvicorn
import uvloop

from signedfor.errors import InvalidSettings
from signedfor.logging import configure_logging
from signedfor.process import end_process
from signedfor.secret_files import read_secret_files
from signedfor.settings import Settings, load_settings
from signedfor.store.database import InvalidDatabaseUrl, open_engine
from signedfor.temporal import TemporalUnavailable, connect_temporal
from signedfor.trace_export import exporting_traces
from webhook.app import create_app
from webhook.replies import InvalidReplies
from webhook.resilience import MAX_TRANSACTIONS

_SHUTDOWN_SECONDS = 5
_MAX_CONNECTIONS = 500
"""Above this it answers 503 at once, and Twilio tries again."""
_KEEP_ALIVE_SECONDS = 75
"""Longer than proxies usually keep an idle connection, so that the proxy closes it first."""
_MAX_HEAD = 16_384
"""Bytes of request line and headers; Twilio's URLs are at most 4,000 characters."""


def main() -> int:
    """Run the webhook: 0 after a clean stop, 1 with a one-line error if it cannot start."""
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
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(settings, client=client, engine=engine),
                host=settings.webhook_host,
                port=settings.webhook_port,
                log_config=None,
                access_log=False,  # it would log query strings
                server_header=False,
                proxy_headers=False,  # any client can set them
                ws="none",
                lifespan="on",
                limit_concurrency=_MAX_CONNECTIONS,
                h11_max_incomplete_event_size=_MAX_HEAD,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
            )
        )
        _survive_the_signal_that_stops_uvicorn()
        await server.serve()
    finally:
        engine.dispose()
    return 0 if server.started else 1


def _survive_the_signal_that_stops_uvicorn() -> None:
    """Let the process end normally after SIGTERM or SIGINT.

    After its shutdown, uvicorn raises the signal again for the previous handler. The default one
    kills the process before the database is closed.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: None)


if __name__ == "__main__":
    end_process(main())
