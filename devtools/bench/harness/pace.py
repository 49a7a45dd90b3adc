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


def worst_window(posts: Sequence[Post], *, seconds: float = 1.0) -> int:
    """The most segments that arrived within so many seconds, wherever they begin."""
    series = sorted(posts)
    worst = within = gone = 0
    for post in series:
        within += post.segments
        while series[gone].at <= post.at - seconds:
            within -= series[gone].segments
            gone += 1
        worst = max(worst, within)
    return worst


def after_the_first(posts: Sequence[Post], *, seconds: float = 1.0) -> list[Post]:
    """Those that arrived so many seconds after the first one, or later."""
    begins_at = min((post.at for post in posts), default=0.0) + seconds
    return [post for post in posts if post.at >= begins_at]


def used(posts: Sequence[Post], *, rate: float) -> float:
    """The part of `rate` that was used, from the first POST to the last; 0 of fewer than two.

    The last one's segments do not count: their time comes after it.
    """
    series = sorted(posts)
    if len(series) < 2 or series[-1].at <= series[0].at:
        return 0.0
    segments = sum(post.segments for post in series[:-1])
    return segments / (series[-1].at - series[0].at) / rate
