"""Serving the sandbox: the loopback rule, the port, the ready line and an orderly end."""

import asyncio
import signal
import socket
import sys
from ipaddress import ip_address
from types import FrameType

import uvicorn

from devtools.sandbox.app import SandboxConfig, create_app
from devtools.sandbox.wire import AbortableProtocol


class NotLoopbackError(ValueError):
    """Raised when the sandbox is asked to listen where other machines could reach it."""


def listen(host: str, port: int) -> socket.socket:
    """Return a socket bound to `host`:`port`; port 0 picks a free one.

    Raises NotLoopbackError for a host that is not loopback, OSError when the port is taken.
    """
    address = "127.0.0.1" if host == "localhost" else host
    try:
        loopback = ip_address(address).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise NotLoopbackError(
            "The sandbox is a development tool without protection: it listens on this machine "
            "only. Give --host 127.0.0.1, ::1 or localhost."
        )
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # The protocol is named because asyncio turns Nagle off only then: 40 ms an answer otherwise.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((address, port))
    except OSError:
        bound.close()
        raise
    return bound


def url_of(bound: socket.socket) -> str:
    """Return the base URL of a bound socket."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """uvicorn's server, which says when it is ready and ends hanging answers when it stops."""

    def __init__(self, config: uvicorn.Config, *, stopping: asyncio.Event, ready: str) -> None:
        super().__init__(config)
        self._stopping = stopping
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(self._ready, flush=True)  # noqa: T201 - the line that scripts wait for

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping.set()
        await super().shutdown(sockets)


def serve(config: SandboxConfig, bound: socket.socket) -> None:
    """Serve on `bound` until SIGTERM or SIGINT, then end within two seconds with exit code 0."""
    # uvicorn raises the signal again once it has stopped; that, too, is to end with code 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    stopping = asyncio.Event()
    server = _Server(
        uvicorn.Config(
            create_app(config, stopping=stopping),
            http=AbortableProtocol,
            ws="none",
            access_log=False,  # request lines hold phone numbers
            log_level="warning",
            timeout_graceful_shutdown=1,
        ),
        stopping=stopping,
        ready=f"sandbox ready on {url_of(bound)}",
    )
    server.run(sockets=[bound])


def _leave(_: int, __: FrameType | None) -> None:
    sys.exit(0)
