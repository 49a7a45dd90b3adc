"""The worker's HTTP server: its metrics, and whether it is alive and takes messages.

It runs in a thread of its own, so it answers while the event loop hangs, and says so.
"""

import asyncio
import contextlib
import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, AF_INET6
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from signedfor.background import in_background
from signedfor.errors import InvalidSettings

MAX_SILENCE_SECONDS: Final = 10.0
"""An event loop that has not run for so long hangs: nothing in it takes a second."""
_BEAT_SECONDS = 1.0
_SDK_SECONDS = 5.0


class Phase(StrEnum):
    """What the worker is doing."""

    STARTING = "starting"
    CHECKING_CLOCK = "waiting for the right time"
    """Its clock must agree with Temporal's."""
    CHECKING_KEYS = "waiting for other workers to have its key"
    """They must be able to read what it writes."""
    CATCHING_UP = "recording inbound messages"
    """They come before anything is sent."""
    SERVING = "serving"
    """It takes messages."""
    STOPPING = "stopping"


class WorkerHealth:
    """The heartbeat of the worker's event loop, and its phase; thread-safe."""

    def __init__(self) -> None:
        self.phase = Phase.STARTING
        self._beat_at = time.monotonic()

    @property
    def silence_seconds(self) -> float:
        """How long ago the event loop last ran."""
        return time.monotonic() - self._beat_at

    @property
    def is_alive(self) -> bool:
        """Whether the event loop runs."""
        return self.silence_seconds <= MAX_SILENCE_SECONDS

    @property
    def is_serving(self) -> bool:
        """Whether the worker takes messages."""
        return self.phase is Phase.SERVING

    def beating(self) -> AbstractAsyncContextManager[None]:
        """Beat in the running event loop while the context is open."""

        async def beat() -> None:
            while True:
                self._beat_at = time.monotonic()
                await asyncio.sleep(_BEAT_SECONDS)

        return in_background(beat())


class _Server(ThreadingHTTPServer):
    """Answers in daemon threads: a scrape that hangs does not hold up the end of the process."""

    daemon_threads = True
    # Otherwise closing the server would wait for such a scrape.
    block_on_close = False

    def __init__(
        self,
        host: str,
        port: int,
        *,
        health: WorkerHealth,
        registry: CollectorRegistry,
        sdk_metrics_url: str,
    ) -> None:
        self.address_family = AF_INET6 if ":" in host else AF_INET
        self.health = health
        self.registry = registry
        self.sdk_metrics_url = sdk_metrics_url
        super().__init__((host, port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 10  # of a client that sends nothing

    def do_GET(self) -> None:
        """Answer a path of ours."""
        match self.path.partition("?")[0]:
            case "/metrics":
                self._metrics()
            case "/healthz":
                self._healthz()
            case "/readyz":
                self._readyz()
            case _:
                self._json(HTTPStatus.NOT_FOUND, {"detail": "Not found."})

    do_HEAD = do_GET  # noqa: N815 - the library's name

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is no request of ours; the library's answer would repeat it."""
        del message, explain
        is_method = code == HTTPStatus.NOT_IMPLEMENTED
        status = HTTPStatus.METHOD_NOT_ALLOWED if is_method else HTTPStatus(code)
        self.close_connection = True
        self.request_version = "HTTP/1.0"  # until it is known, an answer would have no head
        self._json(status, {"detail": f"{status.phrase}."})

    def log_message(self, *_: object) -> None:
        """Log no request: a path may hold anything."""

    def _metrics(self) -> None:
        try:
            # http, to ourselves
            with urllib.request.urlopen(self.server.sdk_metrics_url, timeout=_SDK_SECONDS) as sdk:  # noqa: S310
                temporals = sdk.read()
        except OSError:
            # Not half of them: Prometheus then takes the scrape as failed.
            self._json(HTTPStatus.SERVICE_UNAVAILABLE, {"detail": "The SDK's metrics are missing."})
            return
        self._answer(
            HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(self.server.registry) + temporals
        )

    def _healthz(self) -> None:
        health = self.server.health
        status = "alive" if health.is_alive else "the event loop hangs"
        self._json(
            HTTPStatus.OK if health.is_alive else HTTPStatus.SERVICE_UNAVAILABLE,
            {"status": status, "silence_seconds": round(health.silence_seconds, 1)},
        )

    def _readyz(self) -> None:
        health = self.server.health
        is_ready = health.is_alive and health.is_serving
        phase = health.phase.value if health.is_alive else "the event loop hangs"
        self._json(
            HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE,
            {"ready": is_ready, "worker": phase},
        )

    def _json(self, status: HTTPStatus, document: object) -> None:
        self._answer(status, "application/json", json.dumps(document).encode())

    def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(OSError):  # its reader is gone
                self.wfile.write(body)


@contextlib.contextmanager
def serving(
    address: str, *, health: WorkerHealth, registry: CollectorRegistry, sdk_metrics_url: str
) -> Iterator[None]:
    """Serve at `host:port` while the context is open.

    Raises:
        InvalidSettings: nothing can be served there.
    """
    host, _, port = address.rpartition(":")
    try:
        server = _Server(
            host.strip("[]"),
            int(port),
            health=health,
            registry=registry,
            sdk_metrics_url=sdk_metrics_url,
        )
    except (OSError, OverflowError) as error:
        raise InvalidSettings(
            "WORKER_METRICS_ADDRESS: cannot be served there "
            f"({getattr(error, 'strerror', None) or type(error).__name__}); is the port taken?"
        ) from None
    thread = threading.Thread(target=server.serve_forever, name="worker server", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
