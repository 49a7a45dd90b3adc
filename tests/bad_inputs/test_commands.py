"""Bad calls of the command line and bad files: each ends with its sentence, and changes nothing."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from signedfor.cli.app import app
from tests.bad_inputs.command_rows import COMMAND_ROWS
from tests.bad_inputs.environment import Environment
from tests.bad_inputs.file_rows import FILE_ROWS
from tests.bad_inputs.rows import CANARIES, Command, Request, named

pytestmark = pytest.mark.integration

_CALLS, _FILES = named(COMMAND_ROWS), named(FILE_ROWS)


@pytest.fixture(autouse=True)
def variables(environment: Environment, tmp_path: Path) -> Iterator[None]:
    """The stack's variables, in an empty folder."""
    before, folder = dict(os.environ), Path.cwd()
    os.environ.clear()
    os.environ.update(environment.stack.settings, PATH=before.get("PATH", ""), COLUMNS="200")
    os.chdir(tmp_path)
    yield
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.parametrize("environment", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", _CALLS)
def test_a_bad_call_says_what_is_wrong_and_changes_nothing(
    environment: Environment, name: str, tmp_path: Path
) -> None:
    """With the exit code and the sentence of its row, and without a value of it."""
    _assert_refused(environment, _CALLS[name], tmp_path)


@pytest.mark.parametrize("name", _FILES)
def test_a_bad_file_says_what_is_wrong_and_changes_nothing(
    environment: Environment, name: str, tmp_path: Path
) -> None:
    """With the line or the column, and without a cell of it; no row of it is recorded."""
    _assert_refused(environment, _FILES[name], tmp_path)


def _assert_refused(environment: Environment, row: Request | Command, folder: Path) -> None:
    assert isinstance(row, Command)
    file = folder / "given.csv"
    if row.file is not None:
        file.write_bytes(row.file)
    arguments = [str(file) if each == "FILE" else each for each in row.arguments]
    os.environ.update(row.environment)

    result = CliRunner().invoke(app, arguments, input=row.stdin, prog_name="signedfor")

    assert row.exit_code == result.exit_code, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    assert row.says in result.stderr, result.output
    assert [] == [each for each in (*CANARIES, "Traceback") if each in result.output]
    assert [] == environment.changes()
    assert [] == [each for each in folder.iterdir() if each != file]
