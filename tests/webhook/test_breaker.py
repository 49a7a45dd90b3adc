"""The breaker: one caller finds out, the others do not wait."""

from webhook.breaker import Breaker


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_lets_everybody_through_until_it_fails() -> None:
    """While nothing failed, everybody may try."""
    breaker = Breaker(seconds=1)

    assert [True, True, False] == [breaker.allows(), breaker.allows(), breaker.is_open]


def test_one_caller_tries_again() -> None:
    """After a failure nobody tries for a while, then one caller in each while."""
    clock = _Clock()
    breaker = Breaker(seconds=1, clock=clock)
    breaker.trip()
    allowed = []
    for clock.now in (0.0, 0.9, 1.0, 1.1, 1.9, 2.0, 2.1):
        allowed.append(breaker.allows())

    assert [False, False, True, False, False, True, False] == allowed
    assert breaker.is_open


def test_an_answer_closes_it() -> None:
    """Once it has answered, everybody may try again."""
    breaker = Breaker(seconds=1)
    breaker.trip()
    breaker.reset()

    assert [True, True, False] == [breaker.allows(), breaker.allows(), breaker.is_open]
