import random
from pathlib import Path

import pytest

from bench.soak import SETTINGS, Weather, soak
from stack.local import LocalStack

pytestmark = pytest.mark.integration

_KNOWN_SEED = 19_030
"""Kills every part, and freezes a worker past the deadline of a send."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [_KNOWN_SEED, None], ids=["known seed", "fresh seed"])
async def test_a_storm(seed: int | None, tmp_path: Path) -> None:
    """Parts are killed and frozen, Twilio errs, and every promise is kept for every message."""
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    print(f"seed {seed}: python -m bench.soak --messages 200 --seconds 30 --seed {seed}")  # noqa: T201 - what reproduces a failure
    weather = Weather(seed=seed, messages=200, storm_seconds=30)
    with LocalStack(tmp_path, settings=SETTINGS, workers=2) as stack:
        findings = await soak(stack, weather)

    assert findings.is_clean, findings.text()
    assert findings.messages >= 200
    assert sum(findings.strikes.values()) >= 5
    assert findings.submissions["anew"] > 0
    assert findings.parked <= 1
