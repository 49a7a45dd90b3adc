"""How much of a campaign is handed over at a time, and when it is time for more."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

AHEAD: Final = timedelta(minutes=1)
"""How much of the sender's time is filled: that much is on its way when a campaign is canceled."""
ENOUGH: Final = timedelta(seconds=45)
"""More is handed over once about so much of it is left, so that the sender never runs dry."""
JITTER: Final = 0.5
"""By so much of itself the wait until then is longer or shorter. Several campaigns of one sender
would otherwise all come in the same moment, and the first of them would take everything."""
PAGE: Final = 200
"""Rows handed over at most at a time."""
MOST_UNSEEN: Final = 200
"""Messages that no worker has come to yet. Where they are started faster than they are sent, more
of them would only stand in the way of receipts and of everybody else's messages."""
MOST_WAITING: Final = 1000
"""Messages beyond a minute's worth that wait without a slot: for their send window to open, or for
Twilio to be there again."""
_SOON, _LATER, _LATEST = timedelta(seconds=1), timedelta(seconds=30), timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class Room:
    """How much may be handed over now."""

    rows: int
    seconds_ahead: float
    """How much of the sender's time is filled already."""
    rate: float
    if_full: timedelta
    """When to come again if all these rows are taken."""

    def first(self, segments: Iterable[int]) -> int:
        """How many of the next rows, which have so many segments each, find room."""
        count, filled = 0, self.seconds_ahead
        for each in segments:
            if count == self.rows or filled >= AHEAD.total_seconds():
                break
            count, filled = count + 1, filled + each / self.rate
        return count

    def come_again(self, rows: int, segments: int, *, draw: float) -> timedelta:
        """When there is use for more, once so many rows and segments have been handed over.

        `draw` is chance, in [0, 1).
        """
        filled = timedelta(seconds=min(self.seconds_ahead + segments / self.rate, 3600))
        nominal = min(max(filled - ENOUGH, timedelta(0)), _LATEST)
        wait = nominal * (1 - JITTER + 2 * JITTER * draw)
        return max(wait, self.if_full) if rows == self.rows else wait


def room(
    *,
    ahead: timedelta,
    rate: float,
    segments_a_row: float,
    unseen: int,
    waiting: int,
    page: int = PAGE,
) -> Room:
    """How much a campaign may hand over.

    `ahead` is the sender's time that is given away beyond now, `rate` its segments a second;
    `unseen` messages of the campaign have no slot yet because no worker has come to them, and
    `waiting` ones wait for a slot, for their send window or for Twilio.
    """
    for_all_waiting = MOST_WAITING + math.floor(AHEAD.total_seconds() * rate / segments_a_row)
    limits = [
        (page, timedelta(0)),
        (MOST_UNSEEN - unseen, _SOON),
        (for_all_waiting - waiting, _LATER),
    ]
    rows, if_full = min(limits)
    return Room(
        rows=max(rows, 0),
        seconds_ahead=ahead.total_seconds() + unseen * segments_a_row / rate,
        rate=rate,
        if_full=if_full,
    )
