"""The queue of each sender: segments leave it at a steady pace, and it holds only so many."""


class SenderQueues:
    """When each sender is free again, in epoch seconds."""

    def __init__(self) -> None:
        self._free_at: dict[str, float] = {}

    def reserve(self, sender: str, *, segments: int, rate: float, now: float) -> float:
        """Return when a message of `segments` from `sender` leaves, at `rate` segments a second."""
        leaves = max(now, self._free_at.get(sender, 0.0))
        self._free_at[sender] = leaves + segments / rate
        return leaves

    def is_full(self, sender: str, *, limit: int, rate: float, now: float) -> bool:
        """Tell whether `limit` segments or more wait for `sender`."""
        return (self._free_at.get(sender, 0.0) - now) * rate >= limit

    def clear(self) -> None:
        """Empty every queue."""
        self._free_at.clear()
