"""The operations page as an application: its routes, security headers and error pages."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from sqlalchemy import Engine
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from ops.access import ProxyUsers, Users
from ops.checker import Checker, checks_of
from ops.pages import PAGES
from ops.pages.sign_in import SignIn
from ops.person_links import PersonLinks
from ops.settings import OpsSettings
from ops.web import SIGN_IN_PATH, TEMPLATES, Services
from signedfor.dead_letter_indexer import DeadLetterIndexer
from signedfor.errors import BadInput, CommandError, NotFound, Refused, Unconfirmed
from signedfor.logging import RateLimitedLogger, log_unexpected
from signedfor.message_indexer import MessageIndexer
from signedfor.store.audit_log import AuditLog
from signedfor.store.database import DatabaseUnavailable
from signedfor.store.ops_sessions import OpsSessions
from signedfor.temporal import is_never_connected

_log = logging.getLogger(__name__)
_warnings = RateLimitedLogger(_log)

HEALTH_PATH: Final = "/healthz"
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_STATUS_CODES: Final = {
    BadInput: 400,
    NotFound: 404,
    Refused: 409,
    Unconfirmed: 504,
    CommandError: 503,
}


_HEADINGS: Final = {
    401: "Sign in again",
    403: "Not allowed",
    404: "Not found",
    500: "Something unexpected happened",
    503: "Not now",
    504: "No answer yet",
}
"""Of the page of an error; others say that it did not work."""


def create_app(settings: OpsSettings, *, client: Client, engine: Engine) -> Starlette:
    """The application. `client` may be lazy; the caller closes client and engine.

    Raises:
        InvalidUsers: OPS_USERS_FILE cannot be used.
    """
    services = Services(
        settings=settings,
        engine=engine,
        client=client,
        users=Users(settings.ops_users_file),
        proxy=ProxyUsers(
            settings.ops_trusted_proxies,
            settings.ops_user_header,
            settings.ops_groups_header,
            settings.ops_group_roles,
        ),
        sessions=OpsSessions(engine, lifetime=timedelta(hours=settings.ops_session_hours)),
        audit_log=AuditLog(engine),
        person_links=PersonLinks(engine),
        checker=Checker(checks_of(settings, client, engine)),
    )
    sign_in = SignIn(services)
    for name in TEMPLATES.list_templates():  # or the first to open each page would wait for it
        TEMPLATES.get_template(name)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with (
            MessageIndexer(client, engine).running(),
            DeadLetterIndexer(client, engine).running(),
            services.checker.running(),
        ):
            yield

    return Starlette(
        routes=[
            *(route for pages in PAGES for route in pages.routes(services)),
            Route(SIGN_IN_PATH, sign_in.form, methods=["GET"]),
            Route(SIGN_IN_PATH, sign_in.submit, methods=["POST"]),
            Route(HEALTH_PATH, _healthz, methods=["GET"]),
            Mount("/static", StaticFiles(directory=Path(__file__).with_name("static"))),
        ],
        middleware=[
            Middleware(SecurityMiddleware),
            Middleware(TrustedHostMiddleware, allowed_hosts=_hosts(settings), www_redirect=False),
        ],
        exception_handlers={
            HTTPException: _refused,
            DatabaseUnavailable: _database_away,
            RPCError: _temporal_away,
            RuntimeError: _never_connected,
            CommandError: _not_done,
        },
        lifespan=lifespan,
    )


def _hosts(settings: OpsSettings) -> list[str]:
    """The names under which the page answers, so that no other site's name can lead to it."""
    named = urlsplit(settings.base_url).hostname
    return ["localhost", "127.0.0.1", "[::1]", *([named] if named else [])]


async def _healthz(_request: Request) -> Response:
    return JSONResponse({"status": "alive"})


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    return _error_page(request, error.status_code, error.detail)


async def _database_away(request: Request, error: Exception) -> Response:
    _warnings.warning("%s was not shown: %s", request.url.path, error)
    return _error_page(request, 503, "The database cannot be reached. Try again in a moment.")


async def _temporal_away(request: Request, error: Exception) -> Response:
    if isinstance(error, RPCError) and error.status is RPCStatusCode.INVALID_ARGUMENT:
        return _error_page(request, 400, "Temporal cannot use what was asked for.")
    # Not its text, which may quote what was typed.
    why = error.status.name if isinstance(error, RPCError) else "no connection yet"
    _warnings.warning("%s was not shown: Temporal: %s", request.url.path, why)
    return _error_page(request, 503, "Temporal does not answer. Try again in a moment.")


async def _never_connected(request: Request, error: Exception) -> Response:
    if not is_never_connected(error):
        raise error
    return await _temporal_away(request, error)


async def _not_done(request: Request, error: Exception) -> Response:
    status_code = next(code for kind, code in _STATUS_CODES.items() if isinstance(error, kind))
    return _error_page(request, status_code, str(error))


def _error_page(request: Request, status_code: int, sentence: str) -> HTMLResponse:
    text = TEMPLATES.get_template("error.html").render(
        status_code=status_code,
        heading=_HEADINGS.get(status_code, "That did not work"),
        sentence=sentence,
        back=_page_before(request),
    )
    return HTMLResponse(text, status_code)


def _page_before(request: Request) -> str | None:
    """The path of our own page that led to this one."""
    before, here = urlsplit(request.headers.get("Referer", "")), request.url
    is_ours = before.netloc == here.netloc and before.path not in {"", here.path}
    return before._replace(scheme="", netloc="").geturl() if is_ours else None


class SecurityMiddleware:
    """Adds the security headers, and answers any unexpected exception without its text."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_started = False

        async def sending(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                is_static = scope["path"].startswith("/static/")
                added = [
                    (name.lower().encode(), value.encode())
                    for name, value in _HEADERS.items()
                    if not (is_static and name == "Cache-Control")
                ]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:  # noqa: BLE001 - whatever it is, its text must not be logged
            log_unexpected(_log, error)
            if not has_started:
                request = Request(scope)
                page = _error_page(request, 500, "The log of the operations page says where.")
                await page(scope, receive, sending)
