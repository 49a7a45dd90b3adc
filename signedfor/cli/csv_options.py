"""Options of the commands that read a CSV file: list all its problems, or leave bad rows out."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from signedfor.csv_problems import MAX_SHOWN, CsvProblems, SkippedRows
from signedfor.files import atomic_write

AllProblemsOption = Annotated[
    bool,
    typer.Option(
        "--all",
        help=f"List every problem of the file, not only the first {MAX_SHOWN}; --json always does.",
    ),
]
SkipBadOption = Annotated[
    Path | None,
    typer.Option(
        "--skip-bad",
        metavar="FILE",
        help="Leave bad rows out, and write them to this file with line and reasons.",
    ),
]


def csv_problems(*, all_problems: bool, as_json: bool) -> CsvProblems:
    """Collects the problems of a file; lists all of them, or the first."""
    return CsvProblems(
        in_text=None if all_problems else MAX_SHOWN,
        in_document=None if all_problems or as_json else MAX_SHOWN,
    )


@contextmanager
def skipped_rows(file: Path | None) -> Iterator[SkippedRows | None]:
    """Where bad rows are written, if anywhere; the file is complete at the end, or not changed.

    Raises:
        Unavailable: it cannot be written.
    """
    if file is None:
        yield None
        return
    with atomic_write(file) as temporary:
        yield SkippedRows(temporary)
