"""The application of all parts, and serving it: on loopback only, with an orderly end."""

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from devtools.sandbox.accounts import DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN, Account, Accounts
from devtools.sandbox.api import MessagesApi
from devtools.sandbox.callbacks import CallbackSender
from devtools.sandbox.configuration_api import ConfigurationApi
from devtools.sandbox.control import Control
from devtools.sandbox.creation import Creation
from devtools.sandbox.errors import TwilioError
from devtools.sandbox.events import EventSink
from devtools.sandbox.faults import Faults
from devtools.sandbox.inbound import Inbound
from devtools.sandbox.lifecycle import Lifecycle
from devtools.sandbox.responses import AbortableProtocol, refusal
from devtools.sandbox.settings import LiveSettings, Settings
from devtools.sandbox.state import Journal, State
from devtools.sandbox.webhooks import Webhooks


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """The configuration of a sandbox: the ordinary account, the settings, the journal's path."""

    account_sid: str = DEFAULT_ACCOUNT_SID
    auth_token: str = field(default=DEFAULT_AUTH_TOKEN, repr=False)
    api_key: tuple[str, str] | None = field(default=None, repr=False)
    settings: Settings = field(default_factory=Settings)
    journal: Path | None = None


def create_app(config: SandboxConfig, *, stopping: asyncio.Event) -> FastAPI:
    """Return the application. `stopping` ends hanging answers when the server stops."""
    accounts = Accounts(Account(config.account_sid, config.auth_token, api_key=config.api_key))
    state = State(Journal(config.journal))
    settings = LiveSettings(config.settings)
    faults = Faults()
    webhooks = Webhooks(config.auth_token)
    callbacks = CallbackSender(webhooks, state)
    events = EventSink(account=accounts.ordinary, webhooks=webhooks, settings=settings)
    lifecycle = Lifecycle(settings, state, callbacks, events)
    creation = Creation(
        state=state, faults=faults, lifecycle=lifecycle, callbacks=callbacks, stopping=stopping
    )
    inbound = Inbound(
        account=accounts.ordinary,
        state=state,
        webhooks=webhooks,
        events=events,
        settings=settings,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        for message in state.open():
            callbacks.resume(message)
            lifecycle.start(message)
        yield
        await lifecycle.aclose()
        await callbacks.aclose()
        await events.aclose()
        await webhooks.aclose()
        state.close()

    app = FastAPI(title="Twilio sandbox", lifespan=lifespan, openapi_url=None)
    api = MessagesApi(accounts=accounts, state=state, creation=creation, lifecycle=lifecycle)
    app.router.routes.extend(api.routes())
    configuration = ConfigurationApi(accounts=accounts, state=state, settings=settings)
    app.router.routes.extend(configuration.routes())
    control = Control(
        state=state,
        callbacks=callbacks,
        faults=faults,
        settings=settings,
        inbound=inbound,
        events=events,
        lifecycle=lifecycle,
    )
    app.include_router(control.router())
    app.add_exception_handler(TwilioError, _twilio_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _bad_control_request)
    app.add_exception_handler(ValidationError, _bad_control_request)
    return app


async def _twilio_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, TwilioError):
        raise error
    return refusal(error)


async def _http_error(request: Request, error: Exception) -> Response:
    """Answer what the router refuses as Twilio does, or in plain JSON for the control interface."""
    if not isinstance(error, HTTPException):
        raise error
    if request.url.path.startswith("/_sandbox"):
        return JSONResponse({"detail": error.detail}, error.status_code)
    code = {404: 20404, 405: 20004}.get(error.status_code, 20001)
    return refusal(TwilioError(code, status=error.status_code, path=request.url.path))


async def _bad_control_request(_: Request, error: Exception) -> Response:
    """Name each bad field and what is wrong with it, never its value."""
    if not isinstance(error, RequestValidationError | ValidationError):
        raise error
    return JSONResponse({"detail": list(_problems(error.errors()))}, 422)


def _problems(errors: Iterable[Mapping[str, Any]]) -> Iterable[dict[str, str]]:
    for one in errors:
        field_name = ".".join(str(part) for part in one["loc"])
        yield {"field": field_name, "problem": one["msg"]}


class NotLoopbackError(ValueError):
    """Raised for a host that other machines could reach."""


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
    # asyncio turns Nagle off only if the protocol is named; otherwise an answer takes 40 ms more.
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
    """uvicorn's server, which prints when it is ready and ends hanging answers when it stops."""

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
    # uvicorn raises the signal again once it has stopped; that, too, must end with code 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    stopping = asyncio.Event()
    server = _Server(
        uvicorn.Config(
            create_app(config, stopping=stopping),
            http=AbortableProtocol,
            ws="none",
            access_log=False,  # request lines contain phone numbers
            log_level="warning",
            timeout_graceful_shutdown=1,
        ),
        stopping=stopping,
        ready=f"sandbox ready on {url_of(bound)}",
    )
    server.run(sockets=[bound])


def _exit(_: int, __: FrameType | None) -> None:
    sys.exit(0)
