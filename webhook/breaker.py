"""Remembers that something does not answer, so that not everybody waits to find it out."""

import time
from collections.abc import Callable


class Breaker:
    """Open for some seconds after a failure; then one caller at a time may try again."""

    def __init__(self, *, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._closed_again_at: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether the last that was heard of it is a failure."""
        return self._closed_again_at is not None

    def allows(self) -> bool:
        """Whether to try it now. After a failure one caller in `seconds` is let through."""
        if self._closed_again_at is None:
            return True
        if self._clock() < self._closed_again_at:
            return False
        self.trip()  # for the others, until this caller knows more
        return True

    def trip(self) -> None:
        """It failed."""
        self._closed_again_at = self._clock() + self._seconds

    def reset(self) -> None:
        """It answered."""
        self._closed_again_at = None
