import math

import pytest

from devtools.bench.figures import (
    Bound,
    Post,
    Rounds,
    after_the_first,
    mean,
    percentiles,
    used,
    worst_window,
)

RATE = "messages/s"


def test_ratios_are_of_pairs() -> None:
    """A machine that gets slower between rounds does not change the ratio of a pair."""
    rounds = Rounds(
        {
            "ours": [{RATE: 80.0}, {RATE: 40.0}, {RATE: 9.0}],
            "baseline": [{RATE: 100.0}, {RATE: 50.0}, {RATE: 10.0}],
        }
    )

    assert 0.8 == rounds.ratio("ours", "baseline", RATE)
    assert (40.0, 50.0) == (rounds.median("ours", RATE), rounds.median("baseline", RATE))


def test_both_legs_count_as_one_figure() -> None:
    """The figure of a round is the mean of its legs."""
    assert {RATE: 3.0, "p99 (ms)": 7.0} == mean([{RATE: 2.0}, {RATE: 4.0, "p99 (ms)": 7.0}])


def test_a_figure_of_one_side_has_no_ratio() -> None:
    """Nor has one that is zero for the baseline."""
    rounds = Rounds({"ours": [{"statements": 2.0, "CPU": 1.0}], "baseline": [{"CPU": 0.0}]})

    assert ["statements", "CPU"] == rounds.figures()
    assert math.isnan(rounds.ratio("ours", "baseline", "statements"))
    assert math.isnan(rounds.ratio("ours", "baseline", "CPU"))


@pytest.mark.parametrize(
    ("bound", "holds"),
    [
        (Bound(side="ours", figure=RATE, at_least=0.85, against="baseline"), True),
        (Bound(side="ours", figure=RATE, at_least=0.95, against="baseline"), False),
        (Bound(side="ours", figure=RATE, at_most=90), True),
        (Bound(side="ours", figure=RATE, at_least=90.5), False),
        (Bound(side="ours", figure="of another name", at_most=1), False),
    ],
    ids=str,
)
def test_a_bound_is_about_medians(bound: Bound, holds: bool) -> None:
    """Of a figure or a ratio; a missing figure satisfies no bound."""
    rounds = Rounds({"ours": [{RATE: 90.0}], "baseline": [{RATE: 100.0}]})

    assert holds is bound.holds_for(rounds.value_of(bound))


def test_percentiles_are_in_milliseconds() -> None:
    """Their names begin with that of the load; a single value has none."""
    assert {"idle p50 (ms)": 50.0, "idle p95 (ms)": 95.0, "idle p99 (ms)": 99.0} == pytest.approx(
        percentiles([number / 1000 for number in range(101)], "idle ")
    )
    assert {} == percentiles([0.1])


def _posts(*series: tuple[float, int]) -> list[Post]:
    return [Post(at=at, segments=segments) for at, segments in series]


@pytest.mark.parametrize(
    ("posts", "most"),
    [
        ([], 0),
        (_posts((5, 3)), 3),
        (_posts((0, 2), (0.5, 1), (0.999, 4), (1.2, 1)), 7),
        (_posts((0, 1), (0.9, 2), (1.8, 3), (2.7, 1)), 5),
        (_posts((0, 10), (1, 10), (2, 10)), 10),
    ],
    ids=["none", "one", "a burst at the start", "between whole seconds", "a second apart"],
)
def test_the_worst_second(posts: list[Post], most: int) -> None:
    """It may begin anywhere, holds every POST in full, and ends before a second has passed."""
    assert most == worst_window(posts)
    assert most == worst_window(posts[::-1])


def test_the_worst_second_is_found_in_any_series() -> None:
    """It is what a search from each POST finds."""
    posts = [Post(at=n * n % 97 / 10, segments=n % 4) for n in range(60)]

    by_hand = max(
        sum(each.segments for each in posts if begin.at <= each.at < begin.at + 1)
        for begin in posts
    )

    assert by_hand == worst_window(posts)


def test_a_window_has_the_requested_length() -> None:
    """A sender of less than one segment a second needs a longer window."""
    posts = _posts((0, 1), (12.5, 1), (24.9, 1), (37.5, 1))

    assert 1 == worst_window(posts)
    assert 2 == worst_window(posts, seconds=12.5)


def test_posts_after_the_first_second() -> None:
    """Counted from the first POST, in any order; an empty series has none."""
    assert _posts((7, 2), (6, 1)) == after_the_first(_posts((7, 2), (5.9, 9), (5, 1), (6, 1)))
    assert [] == after_the_first([])


def test_the_whole_rate_is_used() -> None:
    """Messages that follow one another at the rate use it all, however long each is."""
    assert 1 == used(_posts((0, 10), (1, 20), (3, 5), (3.5, 1)), rate=10)


def test_a_gap_is_not_used() -> None:
    """A sender that was idle for half the time has used half its rate."""
    assert 0.5 == used(_posts((0, 1), (1, 1), (3, 1), (4, 1), (6, 1)), rate=4 / 3)


@pytest.mark.parametrize("posts", [[], _posts((1, 4)), _posts((1, 4), (1, 4))])
def test_too_few_posts_have_no_rate(posts: list[Post]) -> None:
    """A rate needs two different times."""
    assert 0 == used(posts, rate=1)
