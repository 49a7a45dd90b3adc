import pytest

from devtools.bench.__main__ import BENCHMARKS
from devtools.bench.sizes import QUICK


@pytest.mark.integration
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", BENCHMARKS)
async def test_every_benchmark_tells_what_it_promises(name: str) -> None:
    """It has figures of every side and a value for every bound, and what must not be, is not.

    Whether the other bounds hold is a question of speed, which so small sizes do not answer.
    """
    report = (await BENCHMARKS[name](QUICK)).document()

    figures, bounds = report["figures"].values(), report["bounds"]
    assert name == report["benchmark"]
    assert [] == [side for side in report["sides"] if not any(side in each for each in figures)]
    assert [] == [bound["text"] for bound in bounds if bound["value"] is None]
    forbidden = [bound for bound in bounds if bound["text"].endswith("<= 0")]
    assert [] == [bound["text"] for bound in forbidden if not bound["holds"]]
