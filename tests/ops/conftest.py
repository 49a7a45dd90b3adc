"""The operations page in this process, as people of each role see it."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine
from starlette.applications import Starlette
from temporalio.client import Client

from ops.access import Role, write_user
from ops.app import create_app
from ops.settings import OpsSettings
from signedfor.payloads import data_converter
from tests.webhook.support import SETTINGS

PASSWORD = "correct horse battery"


@pytest.fixture
def ops_settings(users_file: Path, sqlite_url: str) -> OpsSettings:
    """Settings with a user of each role, named as the role, and a database of its own.

    The checks find neither Twilio nor the webhook.
    """
    own = {
        "ops_users_file": users_file,
        "database_url": sqlite_url,
        "public_base_url": "http://127.0.0.1:9",
        "twilio_api_base_url": "http://127.0.0.1:9",
    }
    return OpsSettings(**(SETTINGS.model_dump() | own))


@pytest.fixture(scope="session")
def users_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user of each role."""
    path = tmp_path_factory.mktemp("ops") / "users"
    for role in Role:
        write_user(path, role, role, PASSWORD)
    return path


@pytest.fixture
async def app(ops_settings: OpsSettings, sqlite_engine: Engine) -> Starlette:
    """The application without a Temporal server."""
    client = await Client.connect("127.0.0.1:9", data_converter=data_converter, lazy=True)
    return create_app(ops_settings, client=client, engine=sqlite_engine)


@dataclass
class Browser:
    """Somebody's browser: it keeps cookies and fills in the token of the form that it shows."""

    http: httpx.AsyncClient

    async def sign_in(self, name: str, password: str = PASSWORD) -> httpx.Response:
        """Send the form for name and password."""
        return await self.http.post("/sign-in", data={"name": name, "password": password})

    async def get(self, path: str, **options: Any) -> httpx.Response:
        """Open a page."""
        return await self.http.get(path, **options)

    async def post(
        self, path: str, fields: dict[str, Any] | None = None, **options: Any
    ) -> httpx.Response:
        """Send a form with the session's token."""
        data = {"csrf_token": await self.token(), **(fields or {})}
        return await self.http.post(path, data=data, **options)

    async def token(self) -> str:
        """The token in the forms of every page."""
        page = await self.get("/audit-log")
        found = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
        assert found
        return found[1]


@pytest.fixture
async def stranger(app: Starlette) -> AsyncIterator[Browser]:
    """Somebody who has not signed in."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        yield Browser(http)


@pytest.fixture(params=list(Role))
async def person(request: pytest.FixtureRequest, stranger: Browser) -> Browser:
    """Somebody of each role."""
    return await _signed_in(stranger, request.param)


async def _signed_in(stranger: Browser, role: Role) -> Browser:
    assert 303 == (await stranger.sign_in(role)).status_code
    return stranger


@pytest.fixture
async def looker(stranger: Browser) -> Browser:
    """Somebody who may look."""
    return await _signed_in(stranger, Role.LOOK)


@pytest.fixture
async def actor(stranger: Browser) -> Browser:
    """Somebody who may act."""
    return await _signed_in(stranger, Role.ACT)


@pytest.fixture
async def administrator(stranger: Browser) -> Browser:
    """Somebody who may do everything."""
    return await _signed_in(stranger, Role.ADMINISTER)
