"""Answers that no HTTP response can give: a connection cut without a byte, and silence.

An ASGI application cannot close a connection, so the server's protocol hands each request the
means: `scope["state"]["abort_connection"]`.
"""

import asyncio
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

_ABORT = "abort_connection"


class AbortableProtocol(H11Protocol):
    """uvicorn's HTTP protocol, with the means to cut its connection in each request's state."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Put the transport's `abort` where uvicorn takes the state of each request from."""
        self.app_state: dict[str, Any] = {**self.app_state, _ABORT: transport.abort}
        super().connection_made(transport)


class DroppedConnection(Response):
    """Closes the connection without a byte of an answer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Cut the connection and wait until the server has noticed."""
        scope["state"][_ABORT]()
        await _gone(receive)


class Silence(Response):
    """Answers nothing until the client leaves, `seconds` have passed or `stopping` is set."""

    def __init__(self, seconds: float, *, stopping: asyncio.Event) -> None:
        super().__init__()
        self._seconds = seconds
        self._stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Hold the connection, then cut it."""
        ends = [asyncio.create_task(_gone(receive)), asyncio.create_task(self._stopping.wait())]
        _, waiting = await asyncio.wait(
            ends, timeout=self._seconds, return_when=asyncio.FIRST_COMPLETED
        )
        for task in waiting:
            task.cancel()
        await asyncio.gather(*ends, return_exceptions=True)
        scope["state"][_ABORT]()
        await _gone(receive)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
