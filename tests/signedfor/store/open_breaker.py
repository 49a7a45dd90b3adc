"""A sender that the breaker has paused, for tests of what shows it."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine

from signedfor.breaker_limits import BreakerLimits, SenderCounts
from signedfor.store.breakers import Breakers, OpenBreaker
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.sender_results import SenderResults, minute_of

BECAUSE = "60 % of 100 messages failed within 15 minutes; the limit is 50 %."
_LIMITS = BreakerLimits(
    window=timedelta(minutes=15),
    min_messages=100,
    failed_percent=50,
    filtered_percent=None,
    spend_per_day=None,
    currency="USD",
)


def open_breaker(engine: Engine, sender: str) -> OpenBreaker:
    """Let 60 of 100 messages of the sender fail, so that the breaker pauses it."""
    RateLimiter(engine).reserve(sender, 1, is_urgent=False)
    counts = SenderCounts(accepted=100, ended=100, failed=60)
    SenderResults(engine).add({(sender, minute_of(datetime.now(UTC))): counts})
    (opened,) = Breakers(engine).open_reached(_LIMITS)
    assert BECAUSE == opened.because
    return opened
