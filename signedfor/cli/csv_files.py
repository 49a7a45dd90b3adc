"""`signedfor opt-outs import` and `export`: the whole list as a CSV file."""

import io
import sys
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import Engine

from signedfor.cli.environment import database, database_trouble
from signedfor.cli.options import ByOption, JsonOption, who
from signedfor.cli.output import BadInput, answering
from signedfor.cli.whole_files import whole_file
from signedfor.store.suppression_csv import COLUMNS, InvalidCsv, export_csv, import_csv


def import_(
    file: Annotated[
        Path,
        typer.Argument(
            exists=True, dir_okay=False, readable=True, help=f"CSV, UTF-8: {','.join(COLUMNS)}"
        ),
    ],
    *,
    by: ByOption = None,
    as_json: JsonOption = False,
) -> None:
    """Record every row of a CSV file, or none if any is wrong."""
    with answering(as_json=as_json) as out:
        with (
            database() as engine,
            database_trouble(),
            file.open(encoding="utf-8-sig", newline="") as opened,
        ):
            try:
                new = import_csv(engine, opened, who=who(by))
            except InvalidCsv as error:
                raise BadInput([_line_and_rest(problem) for problem in error.problems]) from None
            except ValueError as error:
                field, _, what = str(error).partition(": ")
                raise BadInput([("--by" if field == "who" else field, what)]) from None
        out.result({"new": new}, f"Recorded: {new}. Rows that stood already changed nothing.")


def export(
    file: Annotated[
        Path | None, typer.Argument(help="Where to write it. Default: standard output.")
    ] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Write the whole list as CSV, with numbers in full: for audits and backups."""
    with answering(as_json=as_json) as out:
        if file is None and as_json:
            raise BadInput([("FILE", "is needed with --json, which has standard output")])
        with database() as engine, database_trouble():
            if file is None:
                _to_standard_output(engine)
                return
            with whole_file(file) as beside:
                count = export_csv(engine, beside)
        out.result({"exported": count}, f"Exported: {count}.")


def _to_standard_output(engine: Engine) -> None:
    text = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8", newline="")
    try:
        export_csv(engine, text)
    finally:
        text.detach()


def _line_and_rest(problem: str) -> tuple[str, str]:
    line, _, what = problem.partition(": ")
    return line, what
