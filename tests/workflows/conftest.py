from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client

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
async def real_env(temporal: Client) -> AsyncIterator[Environment]:
    """Our workflows with fake activities on the real server, in real time."""
    fakes = FakeActivities()
    async with serving(temporal, fakes):
        yield Environment(temporal, fakes)
