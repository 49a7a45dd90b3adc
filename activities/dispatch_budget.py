"""How many rows of a campaign are dispatched at a time, and when the next ones are."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

HIGH_WATERMARK: Final = timedelta(minutes=1)
"""Rows are dispatched until the sender's backlog is this long. A cancel leaves that much of a
campaign in progress."""
LOW_WATERMARK: Final = timedelta(seconds=45)
"""More rows are dispatched when the backlog is about this short, so that the sender never idles."""
JITTER: Final = 0.5
"""The wait varies by up to this fraction. Otherwise several campaigns of one sender would dispatch
at the same moment, and the first would take the whole budget."""
PAGE: Final = 200
"""The maximum number of rows in one dispatch."""
MAX_UNSTARTED: Final = 200
"""The most messages of a campaign that no worker has started yet. Where rows are dispatched faster
than they are sent, more would only delay receipts and other messages."""
MAX_WAITING: Final = 1000
"""The most messages beyond a minute's worth that wait without a reserved time: for their send
window to open, or for Twilio to be available again."""
_SOON, _LATER, _LATEST = timedelta(seconds=1), timedelta(seconds=30), timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class DispatchBudget:
    """How much may be dispatched now."""

    rows: int
    backlog_seconds: float
    """How much of the sender's time is reserved already."""
    rate: float
    wait_if_used_up: timedelta
    """When to dispatch again if all these rows are dispatched."""

    def fitting(self, segments: Iterable[int]) -> int:
        """How many of the next rows, given the segments of each, may be dispatched."""
        count, filled = 0, self.backlog_seconds
        for each in segments:
            if count == self.rows or filled >= HIGH_WATERMARK.total_seconds():
                break
            count, filled = count + 1, filled + each / self.rate
        return count

    def next_in(self, rows: int, segments: int, *, draw: float) -> timedelta:
        """When to dispatch more, after these rows and segments; `draw` is random, in [0, 1)."""
        filled = timedelta(seconds=min(self.backlog_seconds + segments / self.rate, 3600))
        nominal = min(max(filled - LOW_WATERMARK, timedelta(0)), _LATEST)
        wait = nominal * (1 - JITTER + 2 * JITTER * draw)
        return max(wait, self.wait_if_used_up) if rows == self.rows else wait


def dispatch_budget(
    *,
    backlog: timedelta,
    rate: float,
    segments_per_row: float,
    unstarted: int,
    waiting: int,
    page: int = PAGE,
) -> DispatchBudget:
    """How much of a campaign may be dispatched.

    `backlog` is how far ahead the sender is reserved, `rate` its segments a second. No worker has
    started the `unstarted` messages of the campaign, so nothing is reserved for them yet; the
    `waiting` ones wait for their reserved time, their send window or Twilio.
    """
    minute = math.floor(HIGH_WATERMARK.total_seconds() * rate / segments_per_row)
    limits = [
        (page, timedelta(0)),
        (MAX_UNSTARTED - unstarted, _SOON),
        (MAX_WAITING + minute - waiting, _LATER),
    ]
    rows, wait_if_used_up = min(limits)
    return DispatchBudget(
        rows=max(rows, 0),
        backlog_seconds=backlog.total_seconds() + unstarted * segments_per_row / rate,
        rate=rate,
        wait_if_used_up=wait_if_used_up,
    )
