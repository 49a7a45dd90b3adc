"""Opt-ins as a CSV file to import: the columns `REQUIRED` and, if you like, `OPTIONAL`."""

from collections.abc import Callable
from typing import TextIO

from sqlalchemy import Connection, Engine

from signedfor.consent import OptIn
from signedfor.csv_problems import CsvProblems, SkippedRows
from signedfor.store.csv_files import Cells, CsvRows
from signedfor.store.database import transaction
from signedfor.store.opt_ins import OptIns, is_ahead

REQUIRED = ("recipient", "category", "source", "opted_in_at")
OPTIONAL = ("evidence", "wording")


def import_opt_ins(
    engine: Engine,
    file: TextIO,
    *,
    by: str,
    problems: CsvProblems | None = None,
    skipped: SkippedRows | None = None,
    in_transaction: Callable[[Connection], None] = lambda _: None,
) -> int:
    """Record every opt-in in the file (see `CsvRows`) in one transaction; return how many are new.

    With `skipped`, bad rows are written there and left out. `in_transaction` is called first in the
    transaction.

    Raises:
        InvalidCsv: a row or the header is wrong; nothing was recorded.
    """
    rows = CsvRows(
        file, required=REQUIRED, optional=OPTIONAL, parse=_parse, problems=problems, skipped=skipped
    )
    rows.validate()
    opt_ins = OptIns(engine)
    with transaction(engine) as connection:
        in_transaction(connection)
        return sum(
            opt_ins.record_all(batch, by=by, connection=connection) for batch in rows.batches()
        )


def _parse(cells: Cells) -> OptIn:
    recipient = cells.recipient()
    opted_in_at = cells.moment("opted_in_at")
    if opted_in_at is None and not cells.problems:
        cells.problem("opted_in_at", "must not be empty: it is the evidence's date")
    if opted_in_at is not None and opted_in_at.tzinfo is not None and is_ahead(opted_in_at):
        cells.problem("opted_in_at", "must not be in the future")
    return OptIn(
        recipient=recipient,
        category=cells.label("category"),
        source=cells.label("source"),
        evidence=cells.text("evidence"),
        wording=cells.label("wording"),
        opted_in_at=opted_in_at,
    )
