"""Suppressions as a CSV file: import from another system, export for audits and backups.

The columns are `COLUMNS`, in this order, in UTF-8; a file to import may lack `OPTIONAL`. A cell
that a spreadsheet would read as a formula (every phone number begins with +) is exported with a
leading apostrophe, which the import removes; both forms can be imported.
"""

import csv
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple, TextIO, TypeVar

from sqlalchemy import Connection, Engine

from signedfor.consent import CATEGORY_SCOPES, Reason, Scope, Source, Suppression, reference_in
from signedfor.csv_problems import CsvProblems, SkippedRows
from signedfor.spreadsheets import masked
from signedfor.store.csv_files import Cells, CsvRows
from signedfor.store.database import transaction
from signedfor.store.suppressions import Suppressions
from signedfor.times import iso8601

REQUIRED = ("recipient", "scope", "scope_value", "reason", "source", "evidence", "created_at")
OPTIONAL = ("to_sender", "expires_at")
COLUMNS = REQUIRED + OPTIONAL

_PAGE = 500

_Choice = TypeVar("_Choice", bound=StrEnum)


class Exported(NamedTuple):
    """How many suppressions were written, and how many were not: they are of erased people."""

    written: int
    erased: int


def export_csv(engine: Engine, file: TextIO) -> Exported:
    """Write all suppressions that have an address to `file` (opened with `newline=""`)."""
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    suppressions = Suppressions(engine)
    written, erased, after_id = 0, 0, 0
    while page := suppressions.list_(after_id=after_id, limit=_PAGE):
        rows = [each for each in page if reference_in(each.recipient) is None]
        writer.writerows([masked(cell) for cell in _cells(each)] for each in rows)
        written += len(rows)
        erased += len(page) - len(rows)
        after_id = page[-1].id or 0
    return Exported(written, erased)


def import_csv(
    engine: Engine,
    file: TextIO,
    *,
    by: str,
    problems: CsvProblems | None = None,
    skipped: SkippedRows | None = None,
    in_transaction: Callable[[Connection], None] = lambda _: None,
) -> int:
    """Record every suppression in `file`; return how many were new.

    `file` must be opened with `newline=""` and `encoding="utf-8-sig"`, and seekable: it is read
    once to validate every row, and again to record them in one transaction. Empty cells default to
    scope everything, source import and created now. Recipients are normalized. `in_transaction` is
    called first in the transaction.

    With `skipped`, bad rows are written there and left out.

    Raises:
        InvalidCsv: a row or the header is wrong; nothing was recorded.
    """
    rows = CsvRows(
        file, required=REQUIRED, optional=OPTIONAL, parse=_parse, problems=problems, skipped=skipped
    )
    rows.validate()
    suppressions = Suppressions(engine)
    with transaction(engine) as connection:
        in_transaction(connection)
        return sum(
            suppressions.record_all(batch, by=by, connection=connection) for batch in rows.batches()
        )


def _parse(cells: Cells) -> Suppression:
    """The row's suppression; an empty one after a problem."""

    def choice(column: str, kind: type[_Choice], default: _Choice) -> _Choice:
        cell = cells.text(column).strip().lower()
        if cell in set(kind):
            return kind(cell)
        if cell or column == "reason":
            cells.problem(column, f"must be one of {', '.join(kind)}")
        return default

    recipient = cells.recipient()
    scope = choice("scope", Scope, Scope.EVERYTHING)
    reason = choice("reason", Reason, Reason.MANUAL)
    source = choice("source", Source, Source.IMPORT)
    return Suppression(
        recipient=recipient,
        scope=scope,
        scope_value=_scope_value(cells, scope),
        reason=reason,
        source=source,
        evidence=cells.text("evidence"),
        to_sender=cells.sender("to_sender"),
        created_at=cells.moment("created_at"),
        expires_at=cells.moment("expires_at"),
    )


def _scope_value(cells: Cells, scope: Scope) -> str:
    """The sender or category as messages have it; under another spelling it would cover none."""
    if scope is Scope.EVERYTHING:
        return cells.text("scope_value")
    return cells.label("scope_value") if scope in CATEGORY_SCOPES else cells.sender("scope_value")


def _cells(suppression: Suppression) -> list[str]:
    return [
        suppression.recipient,
        suppression.scope,
        suppression.scope_value,
        suppression.reason,
        suppression.source,
        suppression.evidence,
        iso8601(suppression.created_at) if suppression.created_at else "",
        suppression.to_sender,
        iso8601(suppression.expires_at) if suppression.expires_at else "",
    ]
