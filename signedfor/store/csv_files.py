"""CSV files of consent: read twice, so that every row is recorded, or none if any is wrong."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Generic, TextIO, TypeVar

from signedfor.spreadsheets import unmasked
from signedfor.twilio.phone import InvalidAddress, normalize_recipient

_BATCH = 500
_MAX_PROBLEMS_SHOWN = 20
_Record = TypeVar("_Record")


class InvalidCsv(ValueError):
    """The file cannot be imported; `problems` names lines and columns, never their contents."""

    def __init__(self, problems: Sequence[str], *, total: int) -> None:
        shown = "\n".join(f"  {problem}" for problem in problems)
        more = f"\n  and {total - len(problems)} more" if total > len(problems) else ""
        super().__init__(
            f"Nothing was imported. Correct these problems and try again:\n{shown}{more}"
        )
        self.problems = tuple(problems)
        self.total = total


class Cells:
    """The cells of a row by column, and what is wrong with them; empty for a missing column."""

    def __init__(self, line: int, cells: Mapping[str, str]) -> None:
        self._cells = cells
        self._line = line
        self.problems: list[str] = []

    def text(self, column: str) -> str:
        """The cell as it is."""
        return self._cells.get(column, "")

    def recipient(self) -> str:
        """The normalized address in the column `recipient`."""
        try:
            return normalize_recipient(self.text("recipient"))
        except InvalidAddress as error:
            self.problem("recipient", str(error))
            return ""

    def moment(self, column: str) -> datetime | None:
        """The time in the column, if there is one."""
        try:
            cell = self.text(column).strip()
            return datetime.fromisoformat(cell) if cell else None
        except ValueError:
            self.problem(column, "must be like 2026-11-21T20:15:00+00:00")
            return None

    def problem(self, column: str, what: str) -> None:
        """Something is wrong with the cell."""
        self.problems.append(f"line {self._line}: {column}: {what}")


class CsvRows(Generic[_Record]):
    """The rows of a file that is opened with `newline=""` and `encoding="utf-8-sig"`.

    Its columns are the required ones, or these and the optional ones, in this order. `parse` turns
    a row into a record; it notes what is wrong with the cells, or raises ValueError for one.
    """

    def __init__(
        self,
        file: TextIO,
        *,
        required: Sequence[str],
        optional: Sequence[str],
        parse: Callable[[Cells], _Record],
    ) -> None:
        self._file = file
        self._headers = [tuple(required), (*required, *optional)]
        self._parse = parse

    def validate(self) -> None:
        """Read every row once.

        Raises:
            InvalidCsv: a row or the header is wrong.
        """
        if not self._file.seekable():
            raise ValueError("file: must be a file on disk, not a pipe, because it is read twice")
        shown: list[str] = []
        total = 0
        for cells in _rows(self._file, self._headers):
            self._record(cells)
            total += len(cells.problems)
            shown += cells.problems[: _MAX_PROBLEMS_SHOWN - len(shown)]
        if total:
            raise InvalidCsv(shown, total=total)

    def batches(self) -> Iterator[list[_Record]]:
        """Read every row again.

        Raises:
            InvalidCsv: the file has changed; what was done with earlier batches is to be undone.
        """
        self._file.seek(0)
        batch: list[_Record] = []
        for cells in _rows(self._file, self._headers):
            record = self._record(cells)
            if record is None:
                raise InvalidCsv(cells.problems, total=len(cells.problems))
            batch.append(record)
            if len(batch) == _BATCH:
                yield batch
                batch = []
        if batch:
            yield batch

    def _record(self, cells: Cells) -> _Record | None:
        """The row's record; None if anything is wrong with it."""
        if cells.problems:
            return None
        try:
            record = self._parse(cells)
        except ValueError as error:
            if not cells.problems:
                column, _, what = str(error).partition(": ")
                cells.problem(column, what)
            return None
        return None if cells.problems else record


def _rows(file: TextIO, headers: Sequence[tuple[str, ...]]) -> Iterator[Cells]:
    """Yield each row; check the header first."""
    reader = csv.reader(file, strict=True)
    problem = ""
    try:
        header = tuple(cell.strip().lower() for cell in next(reader, []))
        if header not in headers:
            required, every = headers[0], headers[-1]
            more = f"[,{','.join(every[len(required) :])}]" if len(every) > len(required) else ""
            problem = f"line 1: the header must be {','.join(required)}{more}"
        else:
            for row in reader:
                if row:
                    yield _cells(reader.line_num, header, row)
    except csv.Error:
        problem = f"line {reader.line_num}: not valid CSV, check quotes and separators"
    except UnicodeDecodeError:
        problem = f"after line {reader.line_num}: not UTF-8, save the file as CSV UTF-8"
    if problem:
        # Outside the handlers: the decoder's error, which would be chained, quotes the file.
        raise InvalidCsv([problem], total=1)


def _cells(line: int, header: Sequence[str], row: Sequence[str]) -> Cells:
    cells = Cells(line, dict(zip(header, map(unmasked, row), strict=False)))
    if len(row) != len(header):
        cells.problems.append(f"line {line}: {len(header)} cells expected, {len(row)} found")
    return cells
