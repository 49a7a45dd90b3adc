import pytest

from devtools.bench.figures import Post, after_the_first, used, worst_window


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
    ids=["none", "one", "a crowd at the start", "between whole seconds", "a second apart"],
)
def test_the_worst_second(posts: list[Post], most: int) -> None:
    """It may begin anywhere, holds every POST in full, and ends before a second has passed."""
    assert most == worst_window(posts)
    assert most == worst_window(posts[::-1])


def test_the_worst_second_is_found_in_any_series() -> None:
    """It is what looking from each POST on by hand finds."""
    posts = [Post(at=n * n % 97 / 10, segments=n % 4) for n in range(60)]

    by_hand = max(
        sum(each.segments for each in posts if begin.at <= each.at < begin.at + 1)
        for begin in posts
    )

    assert by_hand == worst_window(posts)


def test_a_window_is_as_long_as_asked() -> None:
    """A sender of less than a segment a second has a window in which there is one."""
    posts = _posts((0, 1), (12.5, 1), (24.9, 1), (37.5, 1))

    assert 1 == worst_window(posts)
    assert 2 == worst_window(posts, seconds=12.5)


def test_what_comes_after_the_first_second() -> None:
    """It counts from the first POST, whatever the order; of nothing, nothing comes later."""
    assert _posts((7, 2), (6, 1)) == after_the_first(_posts((7, 2), (5.9, 9), (5, 1), (6, 1)))
    assert [] == after_the_first([])


def test_the_whole_rate_is_used() -> None:
    """Messages that follow one another at the rate use it all, however long each is."""
    assert 1 == used(_posts((0, 10), (1, 20), (3, 5), (3.5, 1)), rate=10)


def test_a_gap_is_not_used() -> None:
    """A sender that stood still for half the time has used half its rate."""
    assert 0.5 == used(_posts((0, 1), (1, 1), (3, 1), (4, 1), (6, 1)), rate=4 / 3)


@pytest.mark.parametrize("posts", [[], _posts((1, 4)), _posts((1, 4), (1, 4))])
def test_nothing_to_reckon_with(posts: list[Post]) -> None:
    """Without two moments there is no rate to speak of."""
    assert 0 == used(posts, rate=1)
