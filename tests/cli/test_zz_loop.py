import pytest
from tests.cli.conftest import *
from tests.cli.support import Desk
@pytest.mark.parametrize("n", range(60))
async def test_loop(desk: Desk, n: int) -> None:
    message_id = await desk.dead_letter()
    await desk.cli.document("dead-letters", "discard", message_id, "--note", "known")
    result = await desk.cli.later("dead-letters", "retry", message_id, "--json")
    assert 3 == result.exit_code, result.output
    assert "closed already" in result.output, result.output
