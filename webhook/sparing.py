"""Logs a warning now and then, so that a stranger or an outage cannot fill the log."""

import logging
import time
from collections.abc import Callable

LOG_SECONDS = 10.0


class SparingLog:
    """Writes at most one warning in `LOG_SECONDS` and says how many it left out before it."""

    def __init__(
        self, logger: logging.Logger, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._logger = logger
        self._clock = clock
        self._next_at = float("-inf")
        self._left_out = 0

    def warning(self, message: str, *args: object) -> None:
        """Log as `logging.Logger.warning` does, or count it as left out."""
        now = self._clock()
        if now < self._next_at:
            self._left_out += 1
            return
        more = f" ({self._left_out} like this left out before)" if self._left_out else ""
        self._next_at, self._left_out = now + LOG_SECONDS, 0
        self._logger.warning("%s%s", message % args, more)
