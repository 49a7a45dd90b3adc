from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client

from devtools.stack.temporal_server import TemporalServer
from signedfor.payloads import data_converter
from tests.workflows.fakes import (
    Environment,
    FakeActivities,
    TimeSkippingEnvironment,
    serving,
    skipping_time,
)


@pytest.fixture
async def env() -> AsyncIterator[TimeSkippingEnvironment]:
    """Our workflows with fake activities on Temporal's time-skipping test server."""
    fakes = FakeActivities()
    async with skipping_time() as server, serving(server.client, fakes):
        yield TimeSkippingEnvironment(server.client, fakes, server)


@pytest.fixture
async def real_env(temporal_server: TemporalServer) -> AsyncIterator[Environment]:
    """Our workflows with fake activities on the real server, in real time."""
    client = await Client.connect(temporal_server.address, data_converter=data_converter)
    fakes = FakeActivities()
    async with serving(client, fakes):
        yield Environment(client, fakes)
