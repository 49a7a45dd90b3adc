"""The HTTP server of webhook and operations page: uvicorn, with limits to what a client may do.

uvicorn itself waits for ever for a request that does not come, and counts such connections until it
answers everybody with 503. Here each step of a connection has its time, and when there are too
many connections, the one that has kept us waiting longest is closed for a new one. So whoever
opens hundreds and sends nothing keeps nobody else out.
"""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from signedfor.logging import RateLimitedLogger

_log = logging.getLogger(__name__)

_SHUTDOWN_SECONDS = 5
_BACKLOG = 128
_MAX_HEAD = 16_384
"""Bytes of request line and headers; Twilio's URLs are at most 4,000 characters."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a client may take: seconds for each step of a connection, and numbers of connections."""

    head_seconds: float = 10
    """For request line and headers, from the connection or the first byte on."""
    body_seconds: float = 10
    """For the body, from then on."""
    answer_seconds: float = 60
    """For the answer, reading it included."""
    idle_seconds: float = 15
    """Between two requests."""
    connections: int = 500
    idle_connections: int = 100


class _Step(StrEnum):
    """What a connection is doing, all but the third of it waiting for the client."""

    HEAD = "its request's head"
    BODY = "its request's body"
    ANSWER = "its answer"
    IDLE = "another request"


class _Connection(H11Protocol):
    """uvicorn's connection, with limits."""

    limits: ClassVar[Limits]
    waiting: ClassVar[dict[_Step, dict["_Connection", None]]]
    """The connections of this server by step, each since when it is there."""
    warnings: ClassVar[RateLimitedLogger]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._step: _Step | None = None
        self._request: object = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvicorn's
        """See base class."""
        super().connection_made(transport)
        self._enter(_Step.HEAD)
        if len(self.connections) >= self.limits.connections:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        """See base class."""
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """See base class."""
        super().on_response_complete()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """See base class."""
        self._enter(None)
        super().connection_lost(exc)

    def _look(self) -> None:
        """Begin the time of another step, or of the same one of another request."""
        step = self._current_step()
        if step is not self._step or self.cycle is not self._request:
            self._enter(step)
            idle = self.waiting[_Step.IDLE]
            if step is _Step.IDLE and len(idle) > self.limits.idle_connections:
                next(iter(idle)).close()

    def _current_step(self) -> _Step | None:
        if self.transport.is_closing():
            return None
        match self.conn.their_state:
            case h11.SEND_BODY:
                return _Step.BODY
            case h11.IDLE:
                received, _ = self.conn.trailing_data
                return _Step.HEAD if received else _Step.IDLE
        return _Step.ANSWER

    def _enter(self, step: _Step | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._step is not None:
            self.waiting[self._step].pop(self, None)
        self._step, self._request = step, self.cycle
        if step is None:
            return
        self.waiting[step][self] = None
        seconds = {
            _Step.HEAD: self.limits.head_seconds,
            _Step.BODY: self.limits.body_seconds,
            _Step.ANSWER: self.limits.answer_seconds,
            _Step.IDLE: self.limits.idle_seconds,
        }[step]
        self._timer = self.loop.call_later(seconds, self._too_slow)

    def _too_slow(self) -> None:
        if self._step is not _Step.IDLE:
            self.warnings.warning("Closed a connection that took too long for %s", self._step)
        self.close()

    def _make_room(self) -> None:
        """Close the connection that has waited longest for its client; another one if possible."""
        for step in (_Step.IDLE, _Step.HEAD, _Step.BODY):
            for connection in self.waiting[step]:
                if connection is not self:
                    self.warnings.warning(
                        "Closed a connection that waited for %s, for a new one", step
                    )
                    connection.close()
                    return

    def close(self) -> None:
        """Close it at once, whatever is unsent."""
        self._enter(None)
        # It no longer counts, although its end is reported to us later.
        self.connections.discard(self)
        self.transport.abort()


class Server(uvicorn.Server):
    """A server with limits: alone, with `run_to_end`, or `beside` another one."""

    def __init__(self, app: ASGIApp, *, host: str, port: int, limits: Limits = Limits()) -> None:
        class Connection(_Connection):
            pass

        Connection.limits = limits
        Connection.waiting = {step: {} for step in _Step}
        Connection.warnings = RateLimitedLogger(_log)
        self._takes_signals = True
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                http=Connection,
                log_config=None,
                access_log=False,  # it would log query strings
                server_header=False,
                proxy_headers=False,  # any client can set them
                ws="none",
                lifespan="on",
                # Only if none of so many connections waits for its client.
                limit_concurrency=limits.connections + 1,
                h11_max_incomplete_event_size=_MAX_HEAD,
                timeout_keep_alive=int(limits.idle_seconds) + 1,  # ours comes first
                timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
            )
        )

    async def run_to_end(self) -> bool:
        """Serve until SIGTERM or SIGINT; False if it could not start."""
        _survive_the_signal_that_stops_uvicorn()
        await self.serve()
        return self.started

    def listening(self) -> socket.socket:
        """A socket at its address, for `beside`.

        Raises:
            OSError: nothing can be served there.
            OverflowError: its port is none.
        """
        host, port = self.config.host, self.config.port
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)

    @contextlib.asynccontextmanager
    async def beside(self, listening: socket.socket) -> AsyncIterator[None]:
        """Serve while the context is open, beside another server that takes the signals."""
        self._takes_signals = False
        serving = asyncio.create_task(self.serve([listening]))
        try:
            yield
        finally:
            self.should_exit = True
            await serving

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """See base class."""
        if not self._takes_signals:
            yield
            return
        with super().capture_signals():
            yield


def _survive_the_signal_that_stops_uvicorn() -> None:
    """Let the process end normally after SIGTERM or SIGINT.

    After its shutdown, uvicorn raises the signal again for the previous handler. The default one
    kills the process before the database is closed.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: None)
