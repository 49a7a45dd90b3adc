from collections.abc import AsyncIterator

import pytest

from devtools.stack.local import LocalStack
from tests.integration.support import Caller


@pytest.fixture
async def caller(stack: LocalStack) -> Caller:
    """A service that hands in messages to the shared stack."""
    return Caller(stack=stack, client=await stack.client())


@pytest.fixture
async def brave_caller(breakable_stack: LocalStack) -> AsyncIterator[Caller]:
    """A service that hands in messages to the stack whose parts are killed; mends it afterwards."""
    yield Caller(stack=breakable_stack, client=await breakable_stack.client())
    for process in breakable_stack.processes:
        if not process.is_running:
            process.start()
    breakable_stack.sandbox.settings(hold=False)
