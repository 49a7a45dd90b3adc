import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from temporalio.client import Client

from devtools.stack.temporal_server import TemporalServer
from tests.signedfor.cli.support import CommandLine, LiveSystem
from tests.workflows.fakes import FakeActivities, serving

_OURS = (
    *("TEMPORAL_", "TWILIO_", "DATABASE_URL", "PUBLIC_BASE_URL", "COLUMNS"),
    *("DEFAULT_", "PRICE_"),
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
    return CommandLine(env={"TEMPORAL_ADDRESS": "127.0.0.1:9", "COLUMNS": "120"})


@pytest.fixture
def cli_without_worker(temporal_server: TemporalServer, temporal: Client) -> CommandLine:
    """The command line with Temporal and without a worker."""
    return CommandLine(
        env={
            "TEMPORAL_ADDRESS": temporal_server.address,
            "TEMPORAL_NAMESPACE": temporal.namespace,
            "COLUMNS": "120",
        }
    )


@pytest.fixture
async def system(temporal: Client, cli_without_worker: CommandLine) -> AsyncIterator[LiveSystem]:
    """The command line with Temporal and workers."""
    fakes = FakeActivities()
    async with serving(temporal, fakes):
        yield LiveSystem(cli=cli_without_worker, client=temporal, fakes=fakes)
