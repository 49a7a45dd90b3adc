from dataclasses import replace

import pytest

from devtools.bench.__main__ import BENCHMARKS
from devtools.bench.environment import BASELINE, PRODUCT, NotDelivered, delivered, in_flight, set_up
from devtools.bench.sizes import QUICK
from devtools.bench.throughput import RATE, measure_throughput
from devtools.stack.local import LocalStack
from devtools.stack.processes import ProcessGroup

_FEW = replace(QUICK, messages=4, warm_up=1)


@pytest.mark.integration
async def test_product_and_baseline_make_the_same_hops(stack: LocalStack) -> None:
    """Messages of both are posted, called back and delivered; CPU time is measured by part."""
    with ProcessGroup() as group:
        environment = await set_up(stack, group)

        sample = await measure_throughput(environment, BASELINE, _FEW)
        seconds = await in_flight(environment, environment.side(PRODUCT), messages=4, concurrency=2)

    assert seconds > 0
    assert sample[RATE] > 0
    parts = ("worker", "server", "webhook", "sandbox", "driver", "all but driver")
    assert {RATE, *(f"CPU {part} (ms/message)" for part in parts)} == set(sample)
    assert not any(process.is_running for process in environment.side(BASELINE).workers)


@pytest.mark.integration
async def test_another_outcome_ends_the_benchmark(stack: LocalStack) -> None:
    """A message that is not delivered must not improve a figure."""
    with ProcessGroup() as group:
        environment = await set_up(stack, group)
        handle = await environment.start(
            environment.side(PRODUCT), expires_at="2001-01-01T00:00:00Z"
        )

        with pytest.raises(NotDelivered, match="expired"):
            await delivered(handle)


@pytest.mark.integration
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", BENCHMARKS)
async def test_every_benchmark_runs(name: str) -> None:
    """It has figures of every side and a value for every bound; what must be zero is zero.

    Whether the other bounds hold depends on speed, which such small sizes do not measure.
    """
    report = (await BENCHMARKS[name](QUICK)).document()

    figures, bounds = report["figures"].values(), report["bounds"]
    assert name == report["benchmark"]
    assert [] == [side for side in report["sides"] if not any(side in each for each in figures)]
    assert [] == [bound["text"] for bound in bounds if bound["value"] is None]
    forbidden = [bound for bound in bounds if bound["text"].endswith("<= 0")]
    assert [] == [bound["text"] for bound in forbidden if not bound["holds"]]
