"""`signedfor migrate` on a real database."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.signedfor.cli.support import CommandLine


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The DATABASE_URL of a SQLite file in a folder that does not exist yet."""
    return f"sqlite:///{tmp_path}/data/signedfor.db"


def document(cli: CommandLine, *arguments: str, exit_code: int = 0) -> Any:
    """What the command prints with `--json`."""
    result = cli(*arguments, "--json")
    assert exit_code == result.exit_code, result.output
    return json.loads(result.stdout)


def test_check_names_what_is_pending_and_changes_nothing(url: str) -> None:
    """Exit code 3 while migrations are pending, 0 after them; no file is created by checking."""
    cli = CommandLine(env={"DATABASE_URL": url})

    before = document(cli, "migrate", "--check", exit_code=3)
    assert not Path(url.removeprefix("sqlite:///")).exists()
    applied = document(cli, "migrate")
    after = document(cli, "migrate", "--check")

    assert before["pending"] == applied["applied"]
    assert [] == after["pending"]


def test_a_database_that_cannot_be_reached() -> None:
    """One sentence and exit code 1, without the password."""
    cli = CommandLine(env={"DATABASE_URL": "postgresql://user:secret@127.0.0.1:9/db"})

    results = [cli("migrate"), cli("migrate", "--check")]

    assert [1, 1] == [result.exit_code for result in results]
    assert not [result for result in results if "secret" in result.output]
    assert not [result for result in results if "Traceback" in result.output]


def test_migrating_twice_changes_nothing(url: str) -> None:
    """The first run names what it applied, the second says that the database is up to date."""
    line = CommandLine(env={"DATABASE_URL": url})

    first, second = document(line, "migrate"), document(line, "migrate")

    assert first["applied"]
    assert [] == second["applied"]


def test_a_database_that_a_newer_version_has_migrated(url: str) -> None:
    """It is left as it is, and the command says so; one that is marked is an error."""
    line = CommandLine(env={"DATABASE_URL": url})
    line("migrate")
    path = url.removeprefix("sqlite:///")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()

    documents = [document(line, "migrate"), document(line, "migrate", "--check")]
    said = line("migrate")
    used = line("opt-outs", "list")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE schema_compatibility SET oldest_program = '9999'")
    connection.close()
    refused = [line("migrate"), line("migrate", "--check"), line("opt-outs", "list")]

    assert [{"applied": [], "newer": "9999"}, {"pending": [], "newer": "9999"}] == documents
    assert "It may still be used." in said.output
    assert 0 == used.exit_code
    assert [1, 1, 1] == [each.exit_code for each in refused]
    assert ["Run the version that migrated it" in each.output for each in refused] == [True] * 3


def test_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    """The error is one sentence."""
    (tmp_path / "file").write_text("")

    result = CommandLine(env={"DATABASE_URL": f"sqlite:///{tmp_path}/file/a.db"})("migrate")

    assert 1 == result.exit_code
    assert "DATABASE_URL says where it is" in result.stderr
