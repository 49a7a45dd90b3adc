import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from temporalio.client import Client

from devtools.stack.ports import free_ports
from devtools.stack.processes import ProcessGroup
from devtools.stack.temporal_server import TemporalServer
from signedfor.payloads import data_converter
from tests.webhook.support import SETTINGS, Twilio
from webhook.app import create_app


@pytest.fixture
def stopped_server(tmp_path: Path) -> Iterator[TemporalServer]:
    """A Temporal server for one test, not started yet."""
    (tmp_path / "logs").mkdir()
    port, ui_port = free_ports(2)
    with ProcessGroup() as group:
        server = TemporalServer(folder=tmp_path, port=port, ui_port=ui_port, group=group)
        yield server
        server.stop()


@pytest.fixture
def client(temporal: Client) -> Client:
    """A client of the session's Temporal server."""
    return temporal


@pytest.fixture
async def client_without_server(stopped_server: TemporalServer) -> Client:
    """A client of a Temporal server that is not running."""
    return await Client.connect(stopped_server.address, data_converter=data_converter, lazy=True)


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """The DATABASE_URL of a new, migrated SQLite database."""
    path = tmp_path / "webhook.db"
    shutil.copyfile(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
async def twilio(client_without_server: Client, sqlite_engine: Engine) -> AsyncIterator[Twilio]:
    """Twilio, calling a webhook that has a database but no Temporal."""
    twilio = Twilio.calling(
        create_app(SETTINGS, client=client_without_server, engine=sqlite_engine)
    )
    yield twilio
    await twilio.http.aclose()
