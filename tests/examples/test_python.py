import sys

from devtools.stack.local import LocalStack
from tests.examples.support import ROOT, check_service
from tests.fixtures.stack import NewNumber


async def test_the_service(stack: LocalStack, new_number: NewNumber) -> None:
    """It runs against a stack as `make up` starts it, with nothing but `signedfor.client`."""
    program = ROOT / "examples/python/orders.py"

    await check_service(stack, new_number(), [sys.executable, program], folder=ROOT)
