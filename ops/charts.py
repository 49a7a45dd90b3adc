"""Charts as SVG: drawn here, readable without colour, with the figures as a table beside them.

A well-kept library draws more than we need, and inline styles that the page's policy forbids.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

_WIDTH: Final = 720
_HEIGHT: Final = 200
_LEFT: Final = 44
_BOTTOM: Final = 24
_TOP: Final = 10
_LABELS: Final = 6
"""How many of the bars have a label below them."""
MAX_SERIES: Final = 7
"""So many patterns are in templates/patterns.html."""
_STEPS: Final = (1, 2, 5)


@dataclass(frozen=True)
class Series:
    """One kind of value in every bar."""

    name: str
    values: Sequence[int]


@dataclass(frozen=True)
class BarChart:
    """Bars side by side, each stacked from the series."""

    title: str
    labels: Sequence[str]
    """Of the bars, such as times."""
    series: Sequence[Series]

    @property
    def totals(self) -> list[int]:
        """The height of each bar."""
        return [sum(each.values[n] for each in self.series) for n in range(len(self.labels))]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(self.totals)

    def svg(self) -> Markup:
        """The chart; its description says the totals of each series."""
        top = rounded_up(max(self.totals, default=0))
        parts = [*self._axis(top), *self._bars(top), *self._labels()]
        sums = ", ".join(f"{each.name} {sum(each.values):,}" for each in self.series)
        return Markup(
            '<svg class="chart" viewBox="0 0 {w} {h}" role="img" aria-label="{title}: {sums}">'
            "{body}</svg>"
        ).format(
            w=_WIDTH,
            h=_HEIGHT,
            title=self.title,
            sums=sums,
            body=Markup("").join(parts),
        )

    @property
    def legend(self) -> list[tuple[str, int]]:
        """Name and number of each series, from 1."""
        return [(each.name, number) for number, each in enumerate(self.series, start=1)]

    def rows(self) -> list[tuple[str, list[int]]]:
        """The figures of the bars that are not empty, the newest first."""
        return [
            (label, [each.values[n] for each in self.series])
            for n, label in reversed(list(enumerate(self.labels)))
            if self.totals[n]
        ]

    def _axis(self, top: int) -> list[Markup]:
        lines = []
        for value in (0, top // 2, top) if top > 1 else (0, top):
            y = _y(value, top)
            lines.append(
                Markup(
                    '<line class="grid" x1="{x}" x2="{w}" y1="{y}" y2="{y}"/>'
                    '<text x="{tx}" y="{ty}" text-anchor="end">{value}</text>'
                ).format(x=_LEFT, w=_WIDTH, y=y, tx=_LEFT - 6, ty=y + 4, value=f"{value:,}")
            )
        return lines

    def _bars(self, top: int) -> list[Markup]:
        step = (_WIDTH - _LEFT) / max(len(self.labels), 1)
        bars = []
        for n, label in enumerate(self.labels):
            below = 0
            for number, each in enumerate(self.series, start=1):
                value = each.values[n]
                if not value:
                    continue
                y, height = _y(below + value, top), _y(below, top) - _y(below + value, top)
                bars.append(
                    Markup(
                        '<rect class="series-{number}" x="{x}" y="{y}" width="{w}" height="{h}">'
                        "<title>{label}: {name} {value}</title></rect>"
                    ).format(
                        number=number,
                        x=round(_LEFT + n * step + step * 0.1, 1),
                        y=round(y, 1),
                        w=round(step * 0.8, 1),
                        h=round(max(height, 0.5), 1),
                        label=label,
                        name=each.name,
                        value=f"{value:,}",
                    )
                )
                below += value
        return bars

    def _labels(self) -> list[Markup]:
        step = (_WIDTH - _LEFT) / max(len(self.labels), 1)
        every = max(1, -(-len(self.labels) // _LABELS))
        return [
            Markup('<text x="{x}" y="{y}">{label}</text>').format(
                x=round(_LEFT + n * step, 1), y=_HEIGHT - 6, label=label
            )
            for n, label in enumerate(self.labels)
            if n % every == 0
        ]


def rounded_up(value: int) -> int:
    """The next of 1, 2, 5, 10, 20, 50 and so on."""
    size = 1
    while True:
        for step in _STEPS:
            if value <= step * size:
                return step * size
        size *= 10


def series_of(
    counts: Mapping[tuple[str, str], int], labels: Sequence[str], names: Sequence[str]
) -> list[Series]:
    """The series of these names, from counts by label and name; those without any are left out."""
    found = [Series(name, [counts.get((label, name), 0) for label in labels]) for name in names]
    return [each for each in found if any(each.values)]


def _y(value: int, top: int) -> float:
    return _HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _TOP) * value / max(top, 1)
