"""The circuit breaker and the rate-limited logger."""

import logging

import pytest

from webhook.resilience import LOG_SECONDS, CircuitBreaker, RateLimitedLogger


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_closed_circuit_breaker_allows_all_callers() -> None:
    """It is closed until a call fails."""
    breaker = CircuitBreaker(seconds=1)

    assert [True, True, False] == [breaker.allows(), breaker.allows(), breaker.is_open]


def test_an_open_circuit_breaker_allows_one_caller_per_interval() -> None:
    """After a failure it allows no caller for an interval, and then one in each."""
    clock = _Clock()
    breaker = CircuitBreaker(seconds=1, clock=clock)
    breaker.trip()
    allowed = []
    for clock.now in (0.0, 0.9, 1.0, 1.1, 1.9, 2.0, 2.1):
        allowed.append(breaker.allows())

    assert [False, False, True, False, False, True, False] == allowed
    assert breaker.is_open


def test_a_success_closes_the_circuit_breaker() -> None:
    """It then allows all callers again."""
    breaker = CircuitBreaker(seconds=1)
    breaker.trip()
    breaker.reset()

    assert [True, True, False] == [breaker.allows(), breaker.allows(), breaker.is_open]


def test_suppressed_warnings_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    """The first warning is logged; a later one says how many were suppressed in between."""
    now = 100.0
    log = RateLimitedLogger(logging.getLogger("limited"), clock=lambda: now)

    for _ in range(4):
        log.warning("%s of %d", "one", 2)
    now += LOG_SECONDS
    log.warning("again")

    assert ["one of 2", "again (3 similar warnings suppressed)"] == [
        record.getMessage() for record in caplog.records
    ]
