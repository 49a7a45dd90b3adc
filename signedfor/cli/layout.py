"""Tables that fit the width of a terminal and break nothing that is there to be copied.

A cell is broken between words only (see `wrapping`). A table that is too wide for that is stacked:
the cells of a row below each other.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Console, ConsoleOptions
from rich.text import Text

from signedfor.cli.wrapping import breaks, hanging, longest_piece

_GAP: Final = 2
_INDENT: Final = 2
_READABLE: Final = 24
"""A cell of this width is not broken, and no column of texts is narrower."""

Row = Sequence[Text]


class Listing:
    """A table with a header; columns without any cell are left out."""

    def __init__(self, columns: Sequence[str], rows: Sequence[Row], *, header: bool = True) -> None:
        used = [index for index in range(len(columns)) if any(row[index] for row in rows)]
        self._columns = [Text(columns[index], style="bold") for index in used]
        self._rows = [[row[index] for index in used] for row in rows]
        self._header = header

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """Rich calls this to print it."""
        del console
        shown = [self._columns, *self._rows] if self._header else self._rows
        if (widths := _column_widths(shown, within=options.max_width)) is not None:
            for row in shown:
                yield from _side_by_side(row, widths)
            return
        for number, row in enumerate(self._rows):
            if number:
                yield Text()
            names = self._columns if self._header else [Text()] * len(row)
            yield from _stacked(list(zip(names, row, strict=True)), within=options.max_width)


class Facts:
    """Names and values, one below the other."""

    def __init__(self, rows: Sequence[tuple[Text, Text]]) -> None:
        self._rows = rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """Rich calls this to print it."""
        del console
        yield from _stacked(self._rows, within=options.max_width)


class Sentences:
    """Text whose lines are wrapped; each goes on below where its text begins."""

    def __init__(self, text: Text) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """Rich calls this to print it."""
        del console
        for line in self._text.split("\n", allow_blank=True):
            indent, spans = hanging(line.plain, options.max_width)
            for number, (begin, end) in enumerate(spans):
                yield Text(" " * (indent if number else 0)).append_text(line[begin:end])


def _column_widths(rows: Sequence[Row], *, within: int) -> list[int] | None:
    """How wide each column is, so that no piece is broken; None where that is not possible."""
    columns = list(zip(*rows, strict=True))
    needs = [max(_longest_line(cell) for cell in column) for column in columns]
    widths = [
        max(min(need, _READABLE), *(_longest_piece(cell) for cell in column))
        for need, column in zip(needs, columns, strict=True)
    ]
    spare = within - sum(widths) - _GAP * (len(columns) - 1)
    if spare < 0:
        return None
    # A column that needs little more to do without line breaks gets it first.
    for index in sorted(range(len(columns)), key=lambda each: needs[each] - widths[each]):
        added = min(max(needs[index] - widths[index], 0), spare)
        widths[index] += added
        spare -= added
    return widths


def _side_by_side(row: Row, widths: Sequence[int]) -> Iterator[Text]:
    cells = [list(_lines(cell, width)) for cell, width in zip(row, widths, strict=True)]
    for number in range(max((len(cell) for cell in cells), default=0)):
        line = Text()
        for cell, width in zip(cells, widths, strict=True):
            part = cell[number] if number < len(cell) else Text()
            line.append_text(part)
            line.append(" " * (width - part.cell_len + _GAP))
        line.rstrip()
        yield line


def _stacked(rows: Sequence[tuple[Text, Text]], *, within: int) -> Iterator[Text]:
    """Each value beside its name or, where that would break a piece of it, below.

    A name that takes more than half of the width does not move the other values.
    """
    shown = [(name, value) for name, value in rows if value]
    widths = [name.cell_len for name, _ in shown if name]
    usual = max((each + _GAP for each in widths if each <= within // 2), default=0)
    for name, value in shown:
        start = max(usual, name.cell_len + _GAP) if name else usual
        beside = within - start
        needs = _longest_piece(value) if start == usual else _longest_line(value)
        if needs <= beside:
            for number, part in enumerate(_lines(value, beside)):
                head = name.copy() if number == 0 else Text()
                head.append(" " * (start - head.cell_len))
                yield head.append_text(part)
            continue
        if name:
            yield name
        indent = _INDENT if _longest_piece(value) <= within - _INDENT else 0
        for part in _lines(value, within - indent):
            yield Text(" " * indent).append_text(part)


def _lines(text: Text, width: int) -> Iterator[Text]:
    """The text in lines of at most this width; a longer piece has a longer line of its own."""
    for line in text.split("\n", allow_blank=True):
        for begin, end in breaks(line.plain, width):
            yield line[begin:end]


def _longest_line(text: Text) -> int:
    return max((line.cell_len for line in text.split("\n", allow_blank=True)), default=0)


def _longest_piece(text: Text) -> int:
    return longest_piece(text.plain)
