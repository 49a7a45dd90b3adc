"""Suppressions as a CSV file: import from another system, export for audits and backups.

The columns are `COLUMNS`, in this order, in UTF-8; a file to import may lack `OPTIONAL`.
A cell that a spreadsheet would read as a
formula (every phone number begins with +) is exported with a leading apostrophe, which the import
removes; both forms can be imported.
"""

import csv
from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import TextIO, TypeVar

from sqlalchemy import Engine

from signedfor.consent import Reason, Scope, Source, Suppression
from signedfor.spreadsheets import masked, unmasked
from signedfor.store.database import transaction
from signedfor.store.suppressions import Suppressions
from signedfor.twilio.phone import InvalidAddress, normalize_recipient

REQUIRED = ("recipient", "scope", "scope_value", "reason", "source", "evidence", "created_at")
OPTIONAL = ("to_sender", "expires_at")
COLUMNS = REQUIRED + OPTIONAL

_BATCH = 500
_MAX_PROBLEMS_SHOWN = 20

_Choice = TypeVar("_Choice", bound=StrEnum)


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


def export_csv(engine: Engine, file: TextIO) -> int:
    """Write all suppressions to `file` (opened with `newline=""`); return their number."""
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    suppressions = Suppressions(engine)
    count = 0
    after_id = 0
    while page := suppressions.list_(after_id=after_id, limit=_BATCH):
        writer.writerows([masked(cell) for cell in _cells(each)] for each in page)
        count += len(page)
        after_id = page[-1].id or 0
    return count


def import_csv(engine: Engine, file: TextIO, *, by: str) -> int:
    """Record every suppression in `file`; return how many were new.

    `file` must be opened with `newline=""` and `encoding="utf-8-sig"`, and seekable: it is read
    once to validate every row, and again to record them in one transaction. Empty cells default to
    scope everything, source import and created now. Recipients are normalized.

    Raises:
        InvalidCsv: a row or the header is wrong; nothing was recorded.
    """
    if not file.seekable():
        raise ValueError("file: must be a file on disk, not a pipe, because it is read twice")
    _validate(file)
    file.seek(0)
    suppressions = Suppressions(engine)
    new = 0
    with transaction(engine) as connection:
        batch: list[Suppression] = []
        for line, row, width in _rows(file):
            parsed = _parse(line, row, width)
            if not isinstance(parsed, Suppression):  # the file changed after it was validated
                raise InvalidCsv(parsed, total=len(parsed))
            batch.append(parsed)
            if len(batch) == _BATCH:
                new += suppressions.record_all(batch, by=by, connection=connection)
                batch.clear()
        new += suppressions.record_all(batch, by=by, connection=connection)
    return new


def _validate(file: TextIO) -> None:
    shown: list[str] = []
    total = 0
    for line, row, width in _rows(file):
        parsed = _parse(line, row, width)
        if not isinstance(parsed, Suppression):
            total += len(parsed)
            shown += parsed[: _MAX_PROBLEMS_SHOWN - len(shown)]
    if total:
        raise InvalidCsv(shown, total=total)


def _rows(file: TextIO) -> Iterator[tuple[int, list[str], int]]:
    """Yield the last line, cells and expected width of each row; check the header first."""
    reader = csv.reader(file, strict=True)
    problem = ""
    try:
        header = next(reader, [])
        if tuple(cell.strip().lower() for cell in header) not in {REQUIRED, COLUMNS}:
            problem = f"line 1: the header must be {','.join(REQUIRED)}[,{','.join(OPTIONAL)}]"
        else:
            for row in reader:
                if row:
                    yield reader.line_num, row, len(header)
    except csv.Error:
        problem = f"line {reader.line_num}: not valid CSV, check quotes and separators"
    except UnicodeDecodeError:
        problem = f"after line {reader.line_num}: not UTF-8, save the file as CSV UTF-8"
    if problem:
        # Outside the handlers: the decoder's error, which would be chained, quotes the file.
        raise InvalidCsv([problem], total=1)


def _parse(line: int, row: Sequence[str], width: int) -> Suppression | list[str]:
    """Return the row's suppression, or its problems."""
    if len(row) != width:
        return [f"line {line}: {width} cells expected, {len(row)} found"]
    cells = dict.fromkeys(COLUMNS, "") | dict(
        zip(COLUMNS, (unmasked(cell) for cell in row), strict=False)
    )
    problems: list[str] = []

    def choice(column: str, kind: type[_Choice], default: _Choice | None = None) -> _Choice | None:
        cell = cells[column].strip().lower()
        if not cell and default is not None:
            return default
        if cell in set(kind):
            return kind(cell)
        problems.append(f"line {line}: {column}: must be one of {', '.join(kind)}")
        return None

    recipient = ""
    try:
        recipient = normalize_recipient(cells["recipient"])
    except InvalidAddress as error:
        problems.append(f"line {line}: recipient: {error}")
    scope = choice("scope", Scope, Scope.EVERYTHING)
    reason = choice("reason", Reason)
    source = choice("source", Source, Source.IMPORT)

    def moment(column: str) -> datetime | None:
        try:
            cell = cells[column].strip()
            return datetime.fromisoformat(cell) if cell else None
        except ValueError:
            problems.append(f"line {line}: {column}: must be like 2026-11-21T20:15:00+00:00")
            return None

    created_at, expires_at = moment("created_at"), moment("expires_at")
    if problems or scope is None or reason is None or source is None:
        return problems
    try:
        return Suppression(
            recipient=recipient,
            scope=scope,
            scope_value=cells["scope_value"],
            reason=reason,
            source=source,
            evidence=cells["evidence"],
            to_sender=cells["to_sender"],
            created_at=created_at,
            expires_at=expires_at,
        )
    except ValueError as error:
        return [f"line {line}: {error}"]


def _cells(suppression: Suppression) -> list[str]:
    return [
        suppression.recipient,
        suppression.scope,
        suppression.scope_value,
        suppression.reason,
        suppression.source,
        suppression.evidence,
        suppression.created_at.isoformat() if suppression.created_at else "",
        suppression.to_sender,
        suppression.expires_at.isoformat() if suppression.expires_at else "",
    ]
