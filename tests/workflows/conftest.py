from collections.abc import AsyncIterator

import pytest

from tests.workflows.courier import Courier, World, serving, skipping_time


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Workflows and a scripted courier on the time-skipping server."""
    courier = Courier()
    async with skipping_time() as env, serving(env.client, courier):
        yield World(env, courier)
