"""Figures of alternating rounds: medians, ratios of pairs, the bounds that must hold, and pace."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Sample = Mapping[str, float]
"""One round's figures of one side, by name; the name holds the unit."""


@dataclass(frozen=True, kw_only=True)
class Bound:
    """What must hold of a side's figure: alone, or divided by another side's."""

    side: str
    figure: str
    at_least: float | None = None
    at_most: float | None = None
    against: str | None = None

    def __str__(self) -> str:
        """The bound as text."""
        what = f"{self.figure} of {self.side}"
        if self.against:
            what += f" / {self.against}"
        limits = [
            f"{sign} {limit:g}"
            for sign, limit in ((">=", self.at_least), ("<=", self.at_most))
            if limit is not None
        ]
        return f"{what} {' and '.join(limits)}"

    def holds_for(self, value: float) -> bool:
        """Whether this value satisfies it; NaN satisfies none."""
        if math.isnan(value):
            return False
        return (self.at_least is None or value >= self.at_least) and (
            self.at_most is None or value <= self.at_most
        )


@dataclass(frozen=True)
class Rounds:
    """The figures of each side in each round; the same round of two sides is a pair."""

    by_side: Mapping[str, Sequence[Sample]]

    @property
    def count(self) -> int:
        """How many rounds each side has had."""
        return min((len(samples) for samples in self.by_side.values()), default=0)

    def figures(self) -> list[str]:
        """The names of all figures, in the order they were first given."""
        named = (name for samples in self.by_side.values() for each in samples for name in each)
        return list(dict.fromkeys(named))

    def values(self, side: str, figure: str) -> list[float]:
        """This figure of this side, round by round."""
        return [each[figure] for each in self.by_side[side] if figure in each]

    def median(self, side: str, figure: str) -> float:
        """The median over the rounds; NaN if there is none."""
        values = self.values(side, figure)
        return statistics.median(values) if values else math.nan

    def ratio(self, side: str, against: str, figure: str) -> float:
        """The median of the pairs' ratios; NaN if there is none.

        Not the ratio of the medians: the two of a pair ran minutes apart, on a machine whose speed
        may change from one pair to the next.
        """
        pairs = zip(self.by_side[side], self.by_side[against], strict=False)
        ratios = [
            ours[figure] / baseline[figure]
            for ours, baseline in pairs
            if figure in ours and baseline.get(figure)
        ]
        return statistics.median(ratios) if ratios else math.nan

    def value_of(self, bound: Bound) -> float:
        """The value that `bound` is about."""
        if bound.against is None:
            return self.median(bound.side, bound.figure)
        return self.ratio(bound.side, bound.against, bound.figure)


def mean(samples: Sequence[Sample]) -> Sample:
    """Each figure's mean over the samples that have it."""
    names = dict.fromkeys(name for each in samples for name in each)
    return {
        name: statistics.fmean(each[name] for each in samples if name in each) for name in names
    }


def percentiles(seconds: Sequence[float], prefix: str = "") -> dict[str, float]:
    """p50, p95 and p99 in milliseconds."""
    if len(seconds) < 2:
        return {}
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return {f"{prefix}p{n} (ms)": cuts[n - 1] * 1000 for n in (50, 95, 99)}


@dataclass(frozen=True, kw_only=True, order=True)
class Post:
    """A POST that arrived: when, and with how many segments."""

    at: float
    segments: int = 1


def worst_window(posts: Sequence[Post], *, seconds: float = 1.0) -> int:
    """The maximum of segments that arrived within any period of so many seconds."""
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
    """Those that arrived at least so many seconds after the first one."""
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
