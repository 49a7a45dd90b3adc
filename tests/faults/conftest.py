from collections.abc import AsyncIterator

import pytest

from devtools.stack.local import LocalStack
from tests.integration.support import Caller


@pytest.fixture
async def caller(breakable_stack: LocalStack) -> AsyncIterator[Caller]:
    """A caller of a stack whose parts may be killed; they are started again after the test."""
    yield Caller(stack=breakable_stack, client=await breakable_stack.client())
    for process in breakable_stack.processes:
        if not process.is_running:
            process.start()
    breakable_stack.sandbox.settings(hold=False)
