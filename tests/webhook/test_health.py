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


async def test_alive_without_anything(client_without_server: Client, tmp_path: Path) -> None:
    """The process is alive whatever became of Temporal and the database."""
    engine = open_engine(f"sqlite:///{tmp_path}/none/none.db")

    answer = await _twilio(client_without_server, engine).http.get("/healthz")

    assert (200, {"status": "alive"}) == (answer.status_code, answer.json())
    engine.dispose()


async def test_ready(client: Client, engine: Engine) -> None:
    """With Temporal and a migrated database of either kind it is ready."""
    answer = await _twilio(client, engine).http.get("/readyz")

    assert (200, {"ready": True, "temporal": "ready", "database": "ready"}) == (
        answer.status_code,
        answer.json(),
    )


async def test_not_ready_without_temporal(
    client_without_server: Client, sqlite_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """Without Temporal it is not ready and says which of the two it is, and no more."""
    answer = await _twilio(client_without_server, sqlite_engine).http.get("/readyz")

    assert (503, {"ready": False, "temporal": "unreachable", "database": "ready"}) == (
        answer.status_code,
        answer.json(),
    )
    assert "'temporal': 'unreachable'" in caplog.text
    assert TOKEN not in caplog.text


async def test_not_ready_without_its_namespace(
    temporal_server: TemporalServer, sqlite_engine: Engine
) -> None:
    """A Temporal that does not know the configured namespace is of no use."""
    client = await Client.connect(temporal_server.address, namespace="not-there", lazy=True)

    answer = await _twilio(client, sqlite_engine).http.get("/readyz")

    assert (503, "no such namespace") == (answer.status_code, answer.json()["temporal"])


async def test_not_ready_without_migrations(client: Client, tmp_path: Path) -> None:
    """A database that lacks migrations, or is ahead of this version, is not ready."""
    url = f"sqlite:///{tmp_path}/empty.db"
    engine = open_engine(url)

    before = await _twilio(client, engine).http.get("/readyz")
    upgrade(url)
    after = await _twilio(client, engine).http.get("/readyz")
    with sqlite3.connect(f"{tmp_path}/empty.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    newer = await _twilio(client, engine).http.get("/readyz")

    assert [503, 200, 503] == [each.status_code for each in (before, after, newer)]
    assert {"migrations do not match this version"} == {
        each.json()["database"] for each in (before, newer)
    }
    engine.dispose()


async def test_not_ready_with_a_locked_away_database(client: Client, tmp_path: Path) -> None:
    """A database that cannot be opened is unreachable; the answer says nothing of its place."""
    engine = open_engine(f"sqlite:///{tmp_path}/no-such-folder/signedfor.db")

    answer = await _twilio(client, engine).http.get("/readyz")

    assert (503, {"ready": False, "temporal": "ready", "database": "unreachable"}) == (
        answer.status_code,
        answer.json(),
    )
    engine.dispose()


async def test_a_flood_of_probes_reaches_nobody(client: Client, sqlite_engine: Engine) -> None:
    """An answer is remembered for a moment, and probes that come together share one."""
    transactions: list[Connection] = []
    event.listen(sqlite_engine, "begin", transactions.append)
    http = _twilio(client, sqlite_engine).http

    answers = await asyncio.gather(*(http.get("/readyz") for _ in range(20)))

    assert {200} == {answer.status_code for answer in answers}
    assert 1 == len(transactions)
