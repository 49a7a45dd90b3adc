"""Answers of Twilio's API, and what no HTTP response can express: a cut connection, and silence.

An ASGI application cannot close a connection, so the server's protocol gives each request the
means: `scope["state"]["abort_connection"]`.
"""

import asyncio
import json
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from devtools.sandbox.errors import TwilioError, error_body, http_status_for, text_for
from devtools.sandbox.faults import Step

_CODES_BY_STATUS = {401: 20003, 404: 20404, 405: 20004, 429: 20429, 500: 20500, 503: 20503}
_HTML = "<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"


class TwilioResponse(Response):
    """An answer of the API, by default JSON, with the headers Twilio adds."""

    def __init__(
        self,
        content: bytes,
        status_code: int,
        *,
        headers: dict[str, str] | None = None,
        media_type: str = "application/json",
    ) -> None:
        super().__init__(content, status_code, headers, media_type)
        self.headers["Twilio-Request-Id"] = "RQ" + uuid4().hex
        self.headers["Twilio-Concurrent-Requests"] = "1"
        self.headers["X-API-Domain"] = "api.twilio.com"
        self.headers["X-Home-Region"] = "us1"


def json_answer(
    body: dict[str, Any], status: int, *, headers: dict[str, str] | None = None
) -> TwilioResponse:
    """Return `body` as JSON."""
    return TwilioResponse(json.dumps(body).encode(), status, headers=headers)


def html_answer(status: int, title: str, *, headers: dict[str, str] | None = None) -> Response:
    """Return a page as a proxy in front of the API would."""
    page = _HTML.format(title=title).encode()
    return TwilioResponse(page, status, headers=headers, media_type="text/html")


def refusal(error: TwilioError) -> TwilioResponse:
    """Return the answer to a refused request."""
    headers = (
        {"WWW-Authenticate": 'Basic realm="Twilio API"'}
        if error.status == HTTPStatus.UNAUTHORIZED
        else None
    )
    return json_answer(error.body, error.status, headers=headers)


def code_and_status(step: Step) -> tuple[int, int]:
    """Return the code and HTTP status of the error that `step` asks for; each gives the other."""
    code = step.code or _CODES_BY_STATUS.get(step.http_status or 500, 20001)
    return code, step.http_status or http_status_for(code)


def scripted_error(step: Step) -> Response:
    """Return the error that `step` asks for."""
    code, status = code_and_status(step)
    if step.html:
        return html_answer(status, f"HTTP {status}", headers=step.headers)
    body = error_body(code, status=status, message=step.message or text_for(code))
    return json_answer(body, status, headers=step.headers)


_ABORT = "abort_connection"


class AbortableProtocol(H11Protocol):
    """uvicorn's HTTP protocol, with the means to abort its connection in each request's state."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Add the transport's `abort` to the state that uvicorn gives to each request."""
        self.app_state: dict[str, Any] = {**self.app_state, _ABORT: transport.abort}
        super().connection_made(transport)


class DroppedConnection(Response):
    """Closes the connection without a byte of an answer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Abort the connection and wait until the server has noticed."""
        scope["state"][_ABORT]()
        await _gone(receive)


class Silence(Response):
    """Answers nothing until the client leaves, `seconds` have passed or `stopping` is set."""

    def __init__(self, seconds: float, *, stopping: asyncio.Event) -> None:
        super().__init__()
        self._seconds = seconds
        self._stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Hold the connection, then abort it."""
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
