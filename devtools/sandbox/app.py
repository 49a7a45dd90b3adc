"""The application: the parts of the sandbox put together."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from devtools.sandbox.accounts import DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN, Account, Accounts
from devtools.sandbox.answers import refusal
from devtools.sandbox.api import MessagesApi
from devtools.sandbox.books import Books
from devtools.sandbox.callbacks import Courier
from devtools.sandbox.control import Control
from devtools.sandbox.creation import Creation
from devtools.sandbox.errors import TwilioError
from devtools.sandbox.faults import Faults
from devtools.sandbox.inbound import Inbound
from devtools.sandbox.journal import Journal
from devtools.sandbox.lifecycle import Lifecycle
from devtools.sandbox.settings import Dials, Settings
from devtools.sandbox.webhooks import Webhooks


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """What a sandbox is started with: the ordinary account, the settings, the journal's path."""

    account_sid: str = DEFAULT_ACCOUNT_SID
    auth_token: str = field(default=DEFAULT_AUTH_TOKEN, repr=False)
    settings: Settings = field(default_factory=Settings)
    journal: Path | None = None


def create_app(config: SandboxConfig, *, stopping: asyncio.Event) -> FastAPI:
    """Return the application. `stopping` ends answers that hang, once the server is to stop."""
    accounts = Accounts(Account(config.account_sid, config.auth_token))
    books = Books(Journal(config.journal))
    dials = Dials(config.settings)
    faults = Faults()
    webhooks = Webhooks(config.auth_token)
    courier = Courier(webhooks, books)
    lifecycle = Lifecycle(dials, books, courier)
    creation = Creation(
        books=books, faults=faults, lifecycle=lifecycle, courier=courier, stopping=stopping
    )
    inbound = Inbound(account=accounts.ordinary, books=books, webhooks=webhooks, dials=dials)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        for message in books.open():
            courier.resume(message)
            lifecycle.start(message)
        yield
        await lifecycle.aclose()
        await courier.aclose()
        await webhooks.aclose()
        books.close()

    app = FastAPI(title="Twilio sandbox", lifespan=lifespan, openapi_url=None)
    api = MessagesApi(accounts=accounts, books=books, creation=creation, lifecycle=lifecycle)
    app.router.routes.extend(api.routes())
    control = Control(
        books=books,
        courier=courier,
        faults=faults,
        dials=dials,
        inbound=inbound,
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
    """Answer what the router refuses, as Twilio does; the control interface says it plainly."""
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
