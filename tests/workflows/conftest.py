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
async def world() -> AsyncIterator[TimeSkippingEnvironment]:
    """Workflows and a scripted fakes on the time-skipping server."""
    fakes = FakeActivities()
    async with skipping_time() as env, serving(env.client, fakes):
        yield TimeSkippingEnvironment(env.client, fakes, env)


@pytest.fixture
async def real_world(temporal: Client) -> AsyncIterator[Environment]:
    """Workflows and a scripted fakes on the real server, where time passes as it does."""
    fakes = FakeActivities()
    async with serving(temporal, fakes):
        yield Environment(temporal, fakes)
