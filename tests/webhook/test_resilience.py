"""The circuit breaker, and the logger that cannot be flooded."""

import logging

import pytest

from webhook.resilience import LOG_SECONDS, CircuitBreaker, RateLimitedLogger


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_lets_all_callers_through_until_it_fails() -> None:
    """While nothing has failed, all callers may try."""
    breaker = CircuitBreaker(seconds=1)

    assert [True, True, False] == [breaker.allows(), breaker.allows(), breaker.is_open]


def test_one_caller_tries_again() -> None:
    """After a failure no caller tries for a while, then one in each interval."""
    clock = _Clock()
    breaker = CircuitBreaker(seconds=1, clock=clock)
    breaker.trip()
    allowed = []
    for clock.now in (0.0, 0.9, 1.0, 1.1, 1.9, 2.0, 2.1):
        allowed.append(breaker.allows())

    assert [False, False, True, False, False, True, False] == allowed
    assert breaker.is_open


def test_an_answer_closes_it() -> None:
    """Once it has answered, all callers may try again."""
    breaker = CircuitBreaker(seconds=1)
    breaker.trip()
    breaker.reset()

    assert [True, True, False] == [breaker.allows(), breaker.allows(), breaker.is_open]


def test_suppressed_warnings_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    """The first of many is logged; the next after a while says how many there were between."""
    now = 100.0
    log = RateLimitedLogger(logging.getLogger("limited"), clock=lambda: now)

    for _ in range(4):
        log.warning("%s of %d", "one", 2)
    now += LOG_SECONDS
    log.warning("again")

    assert ["one of 2", "again (3 similar warnings suppressed)"] == [
        record.getMessage() for record in caplog.records
    ]
