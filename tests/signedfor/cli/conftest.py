import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from signedfor.payloads import data_converter
from signedfor.search_attributes import SEARCH_ATTRIBUTES
from tests.signedfor.cli.support import CommandLine, LiveSystem
from tests.workflows.fakes import FakeActivities, binary, serving

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


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def temporal_address() -> AsyncIterator[str]:
    """Where a real Temporal server with our search attributes is, for the session."""
    env = await WorkflowEnvironment.start_local(
        dev_server_existing_path=binary("temporal"),
        dev_server_log_level="never",
        search_attributes=SEARCH_ATTRIBUTES,
        data_converter=data_converter,
    )
    async with env:
        yield env.client.service_client.config.target_host


@pytest.fixture
async def temporal(temporal_address: str) -> Client:
    """A client of that server."""
    return await Client.connect(temporal_address, data_converter=data_converter)


@pytest.fixture
def cli_without_worker(temporal_address: str) -> CommandLine:
    """The command line with Temporal and without a worker."""
    return CommandLine(env={"TEMPORAL_ADDRESS": temporal_address, "COLUMNS": "120"})


@pytest.fixture
async def system(temporal: Client, cli_without_worker: CommandLine) -> AsyncIterator[LiveSystem]:
    """The command line with Temporal and workers."""
    # Workflows that earlier tests left behind would come to these workers.
    async for left in temporal.list_workflows("ExecutionStatus='Running'"):
        with contextlib.suppress(RPCError):
            await temporal.get_workflow_handle(left.id, run_id=left.run_id).terminate()
    fakes = FakeActivities()
    async with serving(temporal, fakes):
        yield LiveSystem(cli=cli_without_worker, client=temporal, fakes=fakes)
