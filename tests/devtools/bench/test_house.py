from dataclasses import replace

import pytest

from devtools.bench.environment import BASELINE, PRODUCT, NotDelivered, delivered, in_flight, set_up
from devtools.bench.sizes import QUICK
from devtools.bench.throughput import RATE, whole_lives
from devtools.stack.local import LocalStack
from devtools.stack.processes import ProcessGroup

pytestmark = pytest.mark.integration

_FEW = replace(QUICK, messages=4, warm_up=1)


async def test_ours_and_the_floor_go_the_same_way(stack: LocalStack) -> None:
    """Messages of both are posted, called back and delivered; what is used is told by part."""
    with ProcessGroup() as group:
        environment = await set_up(stack, group)

        sample = await whole_lives(environment, BASELINE, _FEW)
        seconds = await in_flight(environment, environment.side(PRODUCT), messages=4, concurrency=2)

    assert seconds > 0
    assert sample[RATE] > 0
    parts = ("worker", "server", "webhook", "sandbox", "driver", "all but driver")
    assert {RATE, *(f"CPU {part} (ms/message)" for part in parts)} == set(sample)
    assert not any(process.is_running for process in environment.side(BASELINE).workers)


async def test_another_outcome_is_no_figure(stack: LocalStack) -> None:
    """A message that is not delivered ends the benchmark instead of flattering it."""
    with ProcessGroup() as group:
        environment = await set_up(stack, group)
        handle = await environment.start(
            environment.side(PRODUCT), expires_at="2001-01-01T00:00:00Z"
        )

        with pytest.raises(NotDelivered, match="expired"):
            await delivered(handle)
