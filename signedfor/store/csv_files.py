"""CSV files of consent: read twice, so that every row is recorded, or none if any is wrong."""

import csv
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, Generic, TextIO, TypeVar

from pydantic import TypeAdapter, ValidationError

from signedfor.contract.fields import Label, problems_in
from signedfor.csv_lines import BoundedLines, LongRow
from signedfor.csv_problems import SKIPPED_COLUMNS, CsvProblem, CsvProblems, SkippedRows
from signedfor.spreadsheets import unmasked
from signedfor.twilio.phone import InvalidAddress, normalize_recipient, normalize_sender

_LABEL: Final[TypeAdapter[str]] = TypeAdapter(Label)
_BATCH = 500
_Record = TypeVar("_Record")


class InvalidCsv(ValueError):
    """The file cannot be imported; `problems` names lines and columns, never their contents."""

    def __init__(self, problems: CsvProblems) -> None:
        shown = problems.listed[: problems.in_text]
        lines = "\n".join(f"  {problem}" for problem in shown)
        rest = problems.total - len(shown)
        more = f"\n  and {rest} more" if rest else ""
        super().__init__(
            f"Nothing was imported. Correct these problems and try again:\n{lines}{more}"
        )
        self.problems = problems


class Cells:
    """The cells of a row by column, and what is wrong with them; empty for a missing column."""

    def __init__(self, line: int, row: Sequence[str], header: Sequence[str]) -> None:
        self.line = line
        self.row = [unmasked(cell) for cell in row]
        """All of them, also those without a column."""
        self.problems: list[CsvProblem] = []
        self.header = header
        self._cells = dict(zip(header, self.row, strict=False))
        if len(row) != len(header):
            self.problem(None, f"{len(header)} cells expected, {len(row)} found")

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

    def sender(self, column: str) -> str:
        """The normalized sender in the column; an empty cell stays empty."""
        try:
            return normalize_sender(self.text(column)) if self.text(column).strip() else ""
        except InvalidAddress as error:
            self.problem(column, str(error))
            return ""

    def label(self, column: str) -> str:
        """The name in the column, such as `marketing`; an empty cell stays empty."""
        cell = self.text(column).strip()
        try:
            return _LABEL.validate_python(cell) if cell else ""
        except ValidationError as error:
            for _, what in problems_in(error):
                self.problem(column, what)
            return cell

    def moment(self, column: str) -> datetime | None:
        """The time in the column, if there is one."""
        try:
            cell = self.text(column).strip()
            found = datetime.fromisoformat(cell) if cell else None
            return found.astimezone(UTC) if found and found.tzinfo else found
        except (ValueError, OverflowError):  # the latter: in UTC it is before all years, or after
            self.problem(column, "must be like 2026-11-21T20:15:00+00:00")
            return None

    def problem(self, column: str | None, what: str) -> None:
        """Something is wrong with the cell, or with the whole line."""
        self.problems.append(CsvProblem(line=self.line, column=column, problem=what))


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
        problems: CsvProblems | None = None,
        skipped: SkippedRows | None = None,
    ) -> None:
        """With `skipped`, bad rows are written there and left out."""
        self._file = file
        self._problems = CsvProblems() if problems is None else problems
        self._skipped = skipped
        self._skipped_lines: set[int] = set()
        self._lines_read = 0
        self._headers = [tuple(required), (*required, *optional)]
        self._parse = parse

    def validate(self) -> None:
        """Read every row once.

        Raises:
            InvalidCsv: a row or the header is wrong, and cannot be skipped.
        """
        if not self._file.seekable():
            raise ValueError("file: must be a file on disk, not a pipe, because it is read twice")
        problems, skipped, count = self._problems, self._skipped, 0
        for cells in _rows(self._file, self._headers, problems):
            if skipped is not None and not count:
                skipped.header(cells.header)
            count += 1
            self._lines_read = cells.line
            if self._record(cells) is not None:
                continue
            problems.add(cells.problems)
            if skipped is not None:
                skipped.add(cells.line, cells.row, cells.problems)
                self._skipped_lines.add(cells.line)
        if problems.total and skipped is None:
            raise InvalidCsv(problems)

    def batches(self) -> Iterator[list[_Record]]:
        """Read every row again.

        Raises:
            InvalidCsv: the file has changed; what was done with earlier batches is to be undone.
        """
        self._file.seek(0)
        batch: list[_Record] = []
        last = 0
        for cells in _rows(self._file, self._headers, self._problems):
            last = cells.line
            if cells.line in self._skipped_lines:
                continue
            record = self._record(cells)
            if record is None:
                self._problems.add(cells.problems)
                raise InvalidCsv(self._problems)
            batch.append(record)
            if len(batch) == _BATCH:
                yield batch
                batch = []
        if last != self._lines_read:
            what = "the file became shorter or longer while it was read"
            self._problems.add([CsvProblem(line=last + 1, problem=what)])
            raise InvalidCsv(self._problems)
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


def _rows(
    file: TextIO, headers: Sequence[tuple[str, ...]], problems: CsvProblems
) -> Iterator[Cells]:
    """Yield each row; check the header first."""
    lines = BoundedLines(file)
    reader = csv.reader(lines, strict=True)
    problem: CsvProblem | None = None
    try:
        header = tuple(unmasked(cell.strip().lower()) for cell in next(reader, []))
        lines.end_row()
        # A file of skipped rows, corrected, can be imported as it is.
        ours = len(SKIPPED_COLUMNS) if header[: len(SKIPPED_COLUMNS)] == SKIPPED_COLUMNS else 0
        columns = header[ours:]
        if columns not in headers:
            required, every = headers[0], headers[-1]
            more = f"[,{','.join(every[len(required) :])}]" if len(every) > len(required) else ""
            what = f"the header must be {','.join(required)}{more}"
            problem = CsvProblem(line=1, problem=what)
        else:
            for row in reader:
                lines.end_row()
                if row:
                    yield Cells(reader.line_num, row[ours:], columns)
    except LongRow as error:
        problem = CsvProblem(line=error.line, problem=str(error))
    except csv.Error:
        what = "not valid CSV, check quotes and separators"
        problem = CsvProblem(line=reader.line_num, problem=what)
    except UnicodeDecodeError:
        what = "this or a later one is not UTF-8, save the file as CSV UTF-8"
        problem = CsvProblem(line=reader.line_num + 1, problem=what)
    if problem is not None:
        # Outside the handlers: the decoder's error, which would be chained, quotes the file.
        problems.add([problem])
        raise InvalidCsv(problems)
