import pytest

from stack.local import LocalStack
from tests.integration.support import Caller


@pytest.fixture
async def caller(stack: LocalStack) -> Caller:
    """A service that hands in messages to the shared stack."""
    return Caller(stack=stack, client=await stack.client())


@pytest.fixture
async def brave_caller(breakable_stack: LocalStack) -> Caller:
    """A service that hands in messages to the stack whose parts are killed."""
    return Caller(stack=breakable_stack, client=await breakable_stack.client())
