import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from temporalio.client import Client

from devtools.stack.temporal_server import TemporalServer
from signedfor.store.database import open_engine
from tests.dead_letters import resolving
from tests.signedfor.cli.support import CommandLine, LiveSystem
from tests.workflows.fakes import FakeActivities

_OURS = (
    *("TEMPORAL_", "TWILIO_", "DATABASE_URL", "PUBLIC_BASE_URL", "COLUMNS"),
    *("DEFAULT_", "PRICE_", "PRICES_", "BREAKER_"),
)


@pytest.fixture(autouse=True)
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No settings from outside, no `.env`, and what commands read from one is removed."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(_OURS):
            del os.environ[name]
    monkeypatch.chdir(tmp_path)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def cli() -> CommandLine:
    """The command line, without Temporal."""
    return CommandLine(env={"TEMPORAL_ADDRESS": "127.0.0.1:9", "COLUMNS": "200"})


@pytest.fixture
def cli_without_worker(temporal_server: TemporalServer, temporal: Client) -> CommandLine:
    """The command line with Temporal and without a worker."""
    return CommandLine(
        env={
            "TEMPORAL_ADDRESS": temporal_server.address,
            "TEMPORAL_NAMESPACE": temporal.namespace,
            "COLUMNS": "200",
        }
    )


@pytest.fixture
async def system(
    temporal: Client, cli_without_worker: CommandLine, sqlite_url: str
) -> AsyncIterator[LiveSystem]:
    """The command line with Temporal, workers and a database."""
    fakes, engine = FakeActivities(), open_engine(sqlite_url)
    cli = CommandLine(env={**cli_without_worker.env, "DATABASE_URL": sqlite_url})
    async with resolving(temporal, fakes, engine):
        yield LiveSystem(cli=cli, client=temporal, fakes=fakes)
    engine.dispose()
