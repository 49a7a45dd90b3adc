"""A file of recipients, read as a stream: CSV in UTF-8, with a header.

It is read row by row, however long it is, and none of it is kept in memory. A problem with the
file as a whole ends the reading with `UnreadableFile`; the caller checks the rows.
"""

import csv
import io
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any, Final

from signedfor.csv_lines import BoundedLines, LongRow
from signedfor.errors import BadInput
from signedfor.spreadsheets import unmasked

STANDARD_INPUT: Final = Path("-")

_DELIMITERS = (",", ";", "\t")
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_SAVE_AS = "save it as CSV UTF-8 (comma delimited)"


class UnreadableFile(Exception):
    """The file cannot be read on from `line`; the text says why, without contents."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One row of the file, and the line where it begins."""

    number: int
    cells: Sequence[str]


class RecipientsFile:
    """A file to read once, from the start: first `header`, then `lines`."""

    def __init__(
        self, file: IO[bytes], *, size: int, changed_at: Callable[[], int] = lambda: 0
    ) -> None:
        """`size` is in bytes; `changed_at` tells one state of the file from another."""
        self.size = size
        self._file = file
        self._changed_at = changed_at
        self._opened_at = changed_at()
        self._text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        self._reader: Any = None
        self.delimiter = _DELIMITERS[0]
        """Between cells; known after `header`."""
        self.columns: list[str] = []
        """Their names as written; known after `header`."""
        self._row_start = 1

    @property
    def read(self) -> int:
        """Bytes read so far."""
        return self._file.tell()

    def header(self, wanted: str) -> list[str]:
        """The names of the columns, in lower case, among them `wanted`.

        The delimiter is the one of comma, semicolon and tab with which `wanted` is found.

        Raises:
            UnreadableFile: it is empty or not text, has no such column, or a name twice.
        """
        self._refuse_other_formats()
        lines = self._lines = BoundedLines(self._text)
        first = next(self._readable(_without_nul(lines)), "")
        if not first.strip():
            raise UnreadableFile(1, f"is empty; the header must be here, with a column {wanted}")
        self.delimiter = _delimiter(first, wanted)
        self._reader = csv.reader(
            chain([first], _without_nul(lines)), delimiter=self.delimiter, strict=True
        )
        self.columns = [unmasked(name.strip()) for name in next(self._readable(self._reader), [])]
        lines.end_row()
        names = [name.lower() for name in self.columns]
        if wanted not in names:
            raise UnreadableFile(
                1, f"the header must be here, and it has no column {wanted}; see --to-column"
            )
        if len(set(filter(None, names))) < len([name for name in names if name]):
            raise UnreadableFile(1, "the header has a name twice")
        return names

    def lines(self) -> Iterator[Line]:
        """The rows after the header; those whose cells are all blank are skipped.

        Raises:
            UnreadableFile: a line is not UTF-8 or not CSV, or the file has been changed meanwhile.
        """
        self._row_start = self._reader.line_num + 1
        for cells in self._readable(self._reader):
            self._lines.end_row()
            if any(cell.strip() for cell in cells):
                yield Line(number=self._row_start, cells=[unmasked(cell) for cell in cells])
            self._row_start = self._reader.line_num + 1
        # The rows of a file that is being written, or was cut off, are not all of them.
        if self.read != self.size or self._changed_at() != self._opened_at:
            raise UnreadableFile(
                self._row_start, "the file was changed while it was read; try again"
            )

    def _readable(self, rows: Iterator[Any]) -> Iterator[Any]:
        """The same rows; errors of the decoder and the parser become `UnreadableFile`."""
        problem: UnreadableFile | None = None
        try:
            for row in rows:  # noqa: UP028 - closing this generator must not close that one
                yield row
        except UnicodeDecodeError:
            problem = UnreadableFile(
                self._first_undecodable_line(), f"is not UTF-8 (Latin-1 perhaps); {_SAVE_AS}"
            )
        except LongRow as error:
            problem = UnreadableFile(error.line, str(error))
        except csv.Error as error:
            too_long = "field larger" in str(error)
            what = "has a cell that is too long" if too_long else "is not valid CSV"
            problem = UnreadableFile(self._row_start, f"{what}; is a quote left open?")
        if problem is not None:
            # Outside the handlers: the decoder's error holds some of the file's contents.
            raise problem

    def _refuse_other_formats(self) -> None:
        start = self._file.read(4)
        self._file.seek(0)
        if start.startswith(_UTF16_MARKS):
            raise UnreadableFile(1, f"is UTF-16; {_SAVE_AS}")
        if start.startswith(_WORKBOOKS):
            raise UnreadableFile(1, f"is a workbook, not CSV; {_SAVE_AS}")

    def _first_undecodable_line(self) -> int:
        """Find it by reading again: the decoder is ahead of the lines that were returned."""
        self._file.seek(0)
        read = 0
        for line in self._file:
            read += 1
            try:
                line.decode()
            except UnicodeDecodeError:
                break
        return read


@contextmanager
def opened(path: Path) -> Iterator[RecipientsFile]:
    """The file at `path`, or for `-` standard input, copied to a temporary file.

    Raises:
        BadInput: it cannot be read.
    """
    if path == STANDARD_INPUT:
        if sys.stdin is None:  # started with `<&-`
            raise BadInput([("FILE", "standard input is closed")])
        with _copy(sys.stdin.buffer) as copy:
            yield copy
        return
    try:
        source = path.open("rb")
    except OSError as error:
        raise BadInput([("FILE", f"cannot be read ({error.strerror})")]) from None
    with source:
        status = os.fstat(source.fileno())
        if stat.S_ISREG(status.st_mode):
            yield RecipientsFile(
                source,
                size=status.st_size,
                changed_at=lambda: os.fstat(source.fileno()).st_mtime_ns,
            )
        else:
            with _copy(source) as copy:
                yield copy


@contextmanager
def _copy(source: IO[bytes]) -> Iterator[RecipientsFile]:
    """A copy on disk of what cannot be rewound, such as a pipe."""
    with tempfile.TemporaryFile() as copy:  # it has no name and is gone with the process
        shutil.copyfileobj(source, copy)
        size = copy.tell()
        copy.seek(0)
        yield RecipientsFile(copy, size=size)


def _without_nul(lines: BoundedLines) -> Iterator[str]:
    for line in lines:
        if "\0" in line:
            raise UnreadableFile(lines.number, f"has a NUL character (UTF-16 perhaps); {_SAVE_AS}")
        yield line


def _delimiter(first: str, wanted: str) -> str:
    for delimiter in _DELIMITERS:
        try:
            names = next(csv.reader([first], delimiter=delimiter), [])
        except csv.Error:
            continue  # reported when the header is read with the chosen one
        if wanted in (name.strip().lower() for name in names):
            return delimiter
    return _DELIMITERS[0]
