from collections.abc import AsyncIterator

import pytest

from devtools.stack.local import LocalStack
from tests.integration.support import Caller


@pytest.fixture
async def caller(stack: LocalStack) -> Caller:
    """A service that sends messages through the shared stack."""
    return Caller(stack=stack, client=await stack.client())


@pytest.fixture
async def brave_caller(breakable_stack: LocalStack) -> AsyncIterator[Caller]:
    """A service that sends through a stack whose parts may be killed; restarts them afterwards."""
    yield Caller(stack=breakable_stack, client=await breakable_stack.client())
    for process in breakable_stack.processes:
        if not process.is_running:
            process.start()
    breakable_stack.sandbox.settings(hold=False)
