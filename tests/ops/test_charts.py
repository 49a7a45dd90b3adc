"""Charts."""

import re
from xml.etree import ElementTree as ET

import pytest

from ops.charts import MAX_SERIES, BarChart, Series, rounded_up, series_of
from tests.docs.pages import ROOT

CHART = BarChart(
    "Messages",
    ["12:00", "13:00", "14:00"],
    [Series("delivered", [8, 0, 3]), Series("failed <b>", [2, 0, 1])],
)


def test_each_value_is_a_bar_with_its_figure() -> None:
    """Stacked on those below; a value of zero is none."""
    svg = ET.fromstring(str(CHART.svg()))  # noqa: S314 - our own
    bars = svg.findall("rect")

    assert ["series-1", "series-2", "series-1", "series-2"] == [bar.get("class") for bar in bars]
    first, second = ([float(bar.get(name) or 0) for name in ("y", "height")] for bar in bars[:2])
    assert first[0] == pytest.approx(second[0] + second[1], abs=0.2)
    assert first[1] == pytest.approx(4 * second[1], abs=0.5)
    assert "12:00: delivered 8" == bars[0].findtext("title")


def test_a_screen_reader_hears_the_sums() -> None:
    """And what is in a name is text, not markup."""
    svg = ET.fromstring(str(CHART.svg()))  # noqa: S314 - our own

    assert "img" == svg.get("role")
    assert "Messages: delivered 11, failed <b> 3" == svg.get("aria-label")


def test_the_figures_without_the_empty_bars() -> None:
    """The newest first."""
    assert [("14:00", [3, 1]), ("12:00", [8, 2])] == CHART.rows()
    assert [("delivered", 1), ("failed <b>", 2)] == CHART.legend


def test_an_empty_chart() -> None:
    """Says so, and can be drawn all the same."""
    empty = BarChart("Messages", ["12:00"], [])

    assert empty.is_empty
    assert not CHART.is_empty
    assert ET.fromstring(str(empty.svg())) is not None  # noqa: S314 - our own


@pytest.mark.parametrize(
    ("value", "top"), [(0, 1), (1, 1), (2, 2), (3, 5), (11, 20), (200, 200), (2001, 5000)]
)
def test_the_axis_ends_at_a_round_number(value: int, top: int) -> None:
    """The next of 1, 2, 5, 10 and so on."""
    assert top == rounded_up(value)


def test_series_without_a_value_are_left_out() -> None:
    """The others keep their order."""
    counts = {("a", "x"): 1, ("b", "z"): 2}

    assert [Series("x", [1, 0]), Series("z", [0, 2])] == series_of(
        counts, ["a", "b"], ["x", "y", "z"]
    )


def test_each_series_has_a_pattern() -> None:
    """In the template, and in the style sheet for both colour schemes."""
    patterns = (ROOT / "ops/templates/patterns.html").read_text()
    styles = (ROOT / "ops/static/ops.css").read_text()
    numbers = [str(number) for number in range(1, MAX_SERIES + 1)]

    assert numbers == re.findall(r'id="pattern-(\d)"', patterns)
    assert numbers == re.findall(r"\.series-(\d) \{", styles)
    assert 2 * numbers == re.findall(r"--chart-(\d):", styles)
