from dataclasses import replace

import pytest

from devtools.bench.harness.house import FLOOR, OURS, furnish
from devtools.bench.harness.loads import NotDelivered, in_flight, settled
from devtools.bench.harness.sizes import QUICK
from devtools.bench.life import RATE, whole_lives
from devtools.stack.local import LocalStack
from devtools.stack.processes import ProcessGroup

pytestmark = pytest.mark.integration

_FEW = replace(QUICK, messages=4, warm_up=1)


async def test_ours_and_the_floor_go_the_same_way(stack: LocalStack) -> None:
    """Messages of both are posted, called back and settled; what is used is told by part."""
    with ProcessGroup() as group:
        house = await furnish(stack, group)

        sample = await whole_lives(house, FLOOR, _FEW)
        seconds = await in_flight(house, house.side(OURS), messages=4, at_once=2)

    assert seconds > 0
    assert sample[RATE] > 0
    parts = ("worker", "server", "webhook", "sandbox", "driver", "all but driver")
    assert {RATE, *(f"CPU {part} (ms/message)" for part in parts)} == set(sample)
    assert not any(process.is_running for process in house.side(FLOOR).workers)


async def test_another_outcome_is_no_figure(stack: LocalStack) -> None:
    """A message that is not delivered ends the benchmark instead of flattering it."""
    with ProcessGroup() as group:
        house = await furnish(stack, group)
        handle = await house.hand_in(house.side(OURS), expires_at="2001-01-01T00:00:00Z")

        with pytest.raises(NotDelivered, match="expired"):
            await settled(handle)
