import math

import pytest

from devtools.bench.figures import Bound, Rounds, mean, percentiles

RATE = "messages/s"


def test_ratios_are_of_pairs() -> None:
    """A machine that gets slower between rounds does not change how the two of a pair compare."""
    rounds = Rounds(
        {
            "ours": [{RATE: 80.0}, {RATE: 40.0}, {RATE: 9.0}],
            "baseline": [{RATE: 100.0}, {RATE: 50.0}, {RATE: 10.0}],
        }
    )

    assert 0.8 == rounds.ratio("ours", "baseline", RATE)
    assert (40.0, 50.0) == (rounds.median("ours", RATE), rounds.median("baseline", RATE))


def test_there_and_back_is_one_figure() -> None:
    """What a side showed on both legs of a round counts as their mean."""
    assert {RATE: 3.0, "p99 (ms)": 7.0} == mean([{RATE: 2.0}, {RATE: 4.0, "p99 (ms)": 7.0}])


def test_what_one_side_lacks_has_no_ratio() -> None:
    """A figure that only one side has, or that is zero at the baseline, is no comparison."""
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
def test_a_bound_judges_medians(bound: Bound, holds: bool) -> None:
    """It is held against a figure or a ratio; a figure that is not there keeps no bound."""
    rounds = Rounds({"ours": [{RATE: 90.0}], "baseline": [{RATE: 100.0}]})

    assert holds is bound.holds_for(rounds.value_of(bound))


def test_percentiles_are_in_milliseconds() -> None:
    """They are told with their load's name; of a single value there are none."""
    assert {"idle p50 (ms)": 50.0, "idle p95 (ms)": 95.0, "idle p99 (ms)": 99.0} == pytest.approx(
        percentiles([number / 1000 for number in range(101)], "idle ")
    )
    assert {} == percentiles([0.1])
