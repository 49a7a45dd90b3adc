"""The operations page as a process."""

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from signedfor.store.database import open_engine, transaction
from tests.worker_process import ROOT, environment


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        (
            "UPDATE schema_compatibility SET oldest_program = '9999'",
            "which this version cannot use",
        ),
        ("UPDATE alembic_version SET version_num = '0012'", "lacks these migrations"),
    ],
)
def test_it_refuses_a_schema_that_it_cannot_use(
    sqlite_url: str, tmp_path: Path, statement: str, sentence: str
) -> None:
    """With the sentence that the worker ends with."""
    engine = open_engine(sqlite_url)
    with transaction(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        connection.execute(text(statement))
    engine.dispose()

    done = subprocess.run(
        [sys.executable, "-m", "ops"],
        cwd=ROOT,
        env=environment(sqlite_url, OPS_USERS_FILE=str(tmp_path / "users"), OPS_PORT="0"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert 1 == done.returncode
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
