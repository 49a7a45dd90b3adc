"""The lines of a CSV file, for a reader that must not take them all into memory."""

from collections.abc import Iterator
from typing import Final, Protocol

MAX_ROW: Final = 1 << 20
"""Characters of one row, over all its lines: of a file without line breaks, or with a quote left
open, no more is held."""


class _Text(Protocol):
    def readline(self, size: int = ..., /) -> str: ...


class LongRow(Exception):
    """A row is longer than `MAX_ROW`; `line` is where that was found."""

    def __init__(self, line: int) -> None:
        super().__init__(f"is longer than {MAX_ROW:,} characters; is a quote left open?")
        self.line = line


class BoundedLines(Iterator[str]):
    """Iterates over the lines of a text file for `csv.reader`."""

    def __init__(self, text: _Text) -> None:
        self._text = text
        self._row = 0
        self.number = 0
        """Of the last line."""

    def __next__(self) -> str:
        line = self._text.readline(MAX_ROW + 1 - self._row)
        if not line:
            raise StopIteration
        self.number += 1
        self._row += len(line)
        if self._row > MAX_ROW:
            raise LongRow(self.number)
        return line

    def end_row(self) -> None:
        """The reader has returned a row: the next line begins another."""
        self._row = 0
