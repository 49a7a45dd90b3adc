"""The circuit breaker."""

from webhook.resilience import CircuitBreaker


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
