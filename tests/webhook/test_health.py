import asyncio
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, event
from temporalio.client import Client

from devtools.stack.temporal_server import TemporalServer
from signedfor.store.database import open_engine
from signedfor.store.migrate import upgrade
from tests.webhook.support import SETTINGS, TOKEN, Twilio
from webhook.app import create_app

pytestmark = pytest.mark.integration


def _twilio(client: Client, engine: Engine) -> Twilio:
    return Twilio.calling(create_app(SETTINGS, client=client, engine=engine))


async def test_the_process_is_alive_without_temporal_and_database(
    client_without_server: Client, tmp_path: Path
) -> None:
    """`/healthz` checks only the process itself."""
    engine = open_engine(f"sqlite:///{tmp_path}/missing/missing.db")

    response = await _twilio(client_without_server, engine).http.get("/healthz")

    assert (200, {"status": "alive"}) == (response.status_code, response.json())
    engine.dispose()


async def test_the_webhook_is_ready_with_temporal_and_database(
    client: Client, engine: Engine
) -> None:
    """The database may be of either kind, and must be migrated."""
    response = await _twilio(client, engine).http.get("/readyz")

    assert (200, {"ready": True, "temporal": "ready", "database": "ready"}) == (
        response.status_code,
        response.json(),
    )


async def test_the_webhook_is_not_ready_without_temporal(
    client_without_server: Client, sqlite_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """The response says which of the two is missing, without details."""
    response = await _twilio(client_without_server, sqlite_engine).http.get("/readyz")

    assert (503, {"ready": False, "temporal": "unreachable", "database": "ready"}) == (
        response.status_code,
        response.json(),
    )
    assert "'temporal': 'unreachable'" in caplog.text
    assert TOKEN not in caplog.text


async def test_the_webhook_is_not_ready_without_its_namespace(
    temporal_server: TemporalServer, sqlite_engine: Engine
) -> None:
    """Temporal must have the configured namespace."""
    client = await Client.connect(temporal_server.address, namespace="missing", lazy=True)

    response = await _twilio(client, sqlite_engine).http.get("/readyz")

    assert (503, "no such namespace") == (response.status_code, response.json()["temporal"])


async def test_the_webhook_is_ready_if_it_can_use_the_migrations(
    client: Client, tmp_path: Path
) -> None:
    """None may be missing; it goes on with a newer database unless that is marked."""
    url = f"sqlite:///{tmp_path}/empty.db"
    engine = open_engine(url)

    before = await _twilio(client, engine).http.get("/readyz")
    upgrade(url)
    after = await _twilio(client, engine).http.get("/readyz")
    with sqlite3.connect(f"{tmp_path}/empty.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    newer = await _twilio(client, engine).http.get("/readyz")
    with sqlite3.connect(f"{tmp_path}/empty.db") as connection:
        connection.execute("UPDATE schema_compatibility SET oldest_program = '9999'")
    connection.close()
    too_new = await _twilio(client, engine).http.get("/readyz")

    answers = (before, after, newer, too_new)
    assert [503, 200, 200, 503] == [each.status_code for each in answers]
    assert [
        "migrations are pending",
        "ready",
        "ready, with a newer schema",
        "its migrations are too new for this version",
    ] == [each.json()["database"] for each in answers]
    engine.dispose()


async def test_the_webhook_is_not_ready_without_its_database(
    client: Client, tmp_path: Path
) -> None:
    """The response does not contain the database's path."""
    engine = open_engine(f"sqlite:///{tmp_path}/missing/signedfor.db")

    response = await _twilio(client, engine).http.get("/readyz")

    assert (503, {"ready": False, "temporal": "ready", "database": "unreachable"}) == (
        response.status_code,
        response.json(),
    )
    engine.dispose()


async def test_concurrent_probes_share_one_check(client: Client, sqlite_engine: Engine) -> None:
    """The result is cached for a moment."""
    transactions: list[Connection] = []
    event.listen(sqlite_engine, "begin", transactions.append)
    http = _twilio(client, sqlite_engine).http

    responses = await asyncio.gather(*(http.get("/readyz") for _ in range(20)))

    assert {200} == {response.status_code for response in responses}
    assert 1 == len(transactions)
