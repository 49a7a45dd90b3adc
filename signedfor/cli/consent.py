"""What `signedfor opt-outs` and `signedfor opt-ins` share: errors of the store, and imports."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol, TextIO

from sqlalchemy import Connection, Engine

from signedfor.cli import audit
from signedfor.cli.csv_options import csv_problems, note_skipped, skipped_rows
from signedfor.cli.environment import database, field_and_problem
from signedfor.cli.options import option_problems
from signedfor.cli.output import BadInput, command_output
from signedfor.csv_problems import BadRows, CsvProblems, SkippedRows
from signedfor.store.csv_files import InvalidCsv

_OPTIONS: Final[Mapping[str, str]] = {
    "recipient": "RECIPIENT",
    "sender": "--sender",
    "category": "--category",
    "reason": "--reason",
    "evidence": "--note",
    "by": "--by",
}


class Import(Protocol):
    """Records every row of a CSV file in one transaction; returns how many were new."""

    def __call__(  # noqa: D102 - of the class
        self,
        engine: Engine,
        file: TextIO,
        /,
        *,
        by: str,
        problems: CsvProblems | None,
        skipped: SkippedRows | None,
        in_transaction: Callable[[Connection], None],
    ) -> int: ...


def import_rows(
    import_: Import,
    file: Path,
    *,
    action: str,
    by: str | None,
    skip_bad: Path | None,
    all_problems: bool,
    as_json: bool,
) -> None:
    """Import the file, and print how many rows were new; `action` is its name in the audit log.

    Bad rows are written to `skip_bad` and left out. Without it, one bad row keeps all out.
    """
    with command_output(as_json=as_json) as out:
        with (
            store_errors(),
            database() as engine,
            file.open(encoding="utf-8-sig", newline="") as opened,
            skipped_rows(skip_bad) as skipped,
        ):

            def recorded(connection: Connection) -> None:
                audit.record(engine, action, by=by, connection=connection)

            new = import_(
                engine,
                opened,
                by=audit.changed_by(by),
                problems=csv_problems(all_problems=all_problems, as_json=as_json),
                skipped=skipped,
                in_transaction=recorded,
            )
        note_skipped(out, skipped, skip_bad)
        out.result(
            {"new": new, "skipped": skipped.count if skipped else 0},
            f"Recorded: {new}. Rows already recorded changed nothing.",
        )


@contextmanager
def store_errors(options: Mapping[str, str] = _OPTIONS) -> Iterator[None]:
    """Turn what is rejected into bad input of the command, or of the file's line.

    `options` has the command's names of fields.
    """
    try:
        yield
    except BadInput as error:
        raise BadInput(option_problems(error.problems, options)) from None
    except InvalidCsv as error:
        raise BadRows(error.problems) from None
    except ValueError as error:
        raise BadInput(option_problems([field_and_problem(error)], options)) from None
