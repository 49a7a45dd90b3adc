"""How far this machine's clock may be off, and how far it is."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

MAX_SKEW: Final = timedelta(seconds=5)
"""How far a worker's clock may differ from Temporal's: rates, send windows and expiry times go by
it. The clocks of two workers that send may so differ by twice as much.
"""


@dataclass(frozen=True)
class ClockOffset:
    """How far our clock is ahead of Temporal's, in seconds; negative: behind."""

    seconds: float
    uncertainty: float
    """Half of the time that asking took: Temporal read its clock somewhere within it."""

    @property
    def is_tolerable(self) -> bool:
        """Whether messages may be sent by this clock; in doubt they may."""
        return abs(self.seconds) - self.uncertainty <= MAX_SKEW.total_seconds()

    def __str__(self) -> str:
        """Such as `3600.0 s ahead of Temporal's`."""
        side = "behind" if self.seconds < 0 else "ahead of"
        return f"{abs(self.seconds):.1f} s {side} Temporal's"
