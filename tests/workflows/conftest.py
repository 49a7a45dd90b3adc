from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client

from devtools.stack.temporal_server import TemporalServer
from signedfor.payloads import data_converter
from tests.workflows.courier import Courier, SkippingWorld, World, serving, skipping_time


@pytest.fixture
async def world() -> AsyncIterator[SkippingWorld]:
    """Workflows and a scripted courier on the time-skipping server."""
    courier = Courier()
    async with skipping_time() as env, serving(env.client, courier):
        yield SkippingWorld(env.client, courier, env)


@pytest.fixture
async def real_world(temporal_server: TemporalServer) -> AsyncIterator[World]:
    """Workflows and a scripted courier on the real server, where time passes as it does."""
    client = await Client.connect(temporal_server.address, data_converter=data_converter)
    courier = Courier()
    async with serving(client, courier):
        yield World(client, courier)
