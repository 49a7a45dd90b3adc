"""What is wrong with a CSV file, by line and column; and its bad rows, written to another file.

A problem never shows a cell. The file of skipped rows does: it holds them complete, so that they
can be corrected and used as a file of their own.
"""

import csv
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TextIO

from signedfor.errors import BadInput
from signedfor.spreadsheets import masked

SKIPPED_COLUMNS: Final = ("line", "problems")
"""What a file of skipped rows has before the row's own columns."""
MAX_SHOWN: Final = 20
"""How many problems are listed unless all are asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CsvProblem:
    """A problem of one line."""

    line: int
    column: str | None = None
    """Its name in the header, or an option that does not go with the row; None: the whole line."""
    problem: str
    """A sentence for people, without the cell's contents."""

    @property
    def sentence(self) -> str:
        """The problem with its column."""
        return self.problem if self.column is None else f"{self.column}: {self.problem}"

    def __str__(self) -> str:
        return f"line {self.line}: {self.sentence}"


class CsvProblems:
    """The problems found so far, and how many of them are to be listed."""

    def __init__(
        self, *, in_text: int | None = MAX_SHOWN, in_document: int | None = MAX_SHOWN
    ) -> None:
        """For people, and for programs; None: all of them."""
        self.in_text = in_text
        self.in_document = in_document
        self.listed: list[CsvProblem] = []
        self.total = 0

    def add(self, problems: Iterable[CsvProblem]) -> None:
        """Add the problems of a line."""
        for each in problems:
            self.total += 1
            if any(
                limit is None or self.total <= limit for limit in (self.in_text, self.in_document)
            ):
                self.listed.append(each)


class BadRows(BadInput):
    """The file has bad rows; nothing was done."""

    def __init__(self, problems: CsvProblems) -> None:
        shown = problems.listed[: problems.in_text]
        super().__init__([(f"line {each.line}", each.sentence) for each in shown])
        self.listed = tuple(problems.listed)
        self.total = problems.total

    def __str__(self) -> str:
        more = self.total - len(self.problems)
        return super().__str__() + (
            f"\n  and {more:,} more problems; --all lists them" if more else ""
        )

    def document(self) -> dict[str, Any]:
        """See base class."""
        document = super().document()
        document["error"]["fields"] = [
            {
                "field": f"line {each.line}",
                "line": each.line,
                "column": each.column,
                "problem": each.problem,
            }
            for each in self.listed
        ]
        document["error"]["total"] = self.total
        return document


class SkippedRows:
    """Writes the rows that are left out: line, problems, then the row's own cells, all of them.

    What `campaign start` and the imports read, they can read again: with the same column names,
    and with cells protected from spreadsheets as in every file of ours.
    """

    def __init__(self, file: TextIO | None) -> None:
        """`file` is opened with `newline=""`; None: they are only left out."""
        self.count = 0
        self._writer = None if file is None else csv.writer(file)

    def header(self, columns: Sequence[str]) -> None:
        """Begin with these columns of the file."""
        taken = {name.lower() for name in columns}
        own = [distinct(name, taken) for name in SKIPPED_COLUMNS]
        self._write([*own, *columns])

    def add(self, line: int, cells: Sequence[str], problems: Sequence[CsvProblem]) -> None:
        """Write a row."""
        self.count += 1
        reasons = "; ".join(each.sentence for each in problems)
        self._write([str(line), reasons, *cells])

    def _write(self, cells: Iterable[str]) -> None:
        if self._writer is not None:
            self._writer.writerow([masked(cell) for cell in cells])


def distinct(name: str, taken: Collection[str]) -> str:
    """The name; with a number if it is one of `taken`, which are in lower case."""
    number, found = 1, name
    while found.lower() in taken:
        number += 1
        found = f"{name}_{number}"
    return found
