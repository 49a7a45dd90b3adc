"""What a series of POSTs shows of a sender's pace. Pure.

A POST counts in full, with all its segments, at the moment it arrives.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, order=True)
class Post:
    """A POST that arrived: when, and how many segments it brought."""

    at: float
    segments: int = 1


def worst_second(posts: Sequence[Post]) -> int:
    """The most segments that arrived within one second, wherever it begins."""
    series = sorted(posts)
    worst = within = gone = 0
    for post in series:
        within += post.segments
        while series[gone].at <= post.at - 1:
            within -= series[gone].segments
            gone += 1
        worst = max(worst, within)
    return worst


def used(posts: Sequence[Post], *, rate: float) -> float:
    """The part of `rate` that was used, from the first POST to the last; 0 of fewer than two.

    The last one's segments do not count: their time comes after it.
    """
    series = sorted(posts)
    if len(series) < 2 or series[-1].at <= series[0].at:
        return 0.0
    segments = sum(post.segments for post in series[:-1])
    return segments / (series[-1].at - series[0].at) / rate
