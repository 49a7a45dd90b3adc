"""The drill of backup and restore."""

import asyncio
from pathlib import Path

import pytest

from devtools.backup_drill import SETTINGS, Drill
from devtools.stack.local import LocalStack

pytestmark = pytest.mark.integration


@pytest.mark.timeout(300)
@pytest.mark.parametrize("older_database", [False, True])
def test_the_books_balance(tmp_path: Path, older_database: bool) -> None:
    """Every message was sent once and every opt-out is in force, however old the database is."""
    with LocalStack(tmp_path, settings=SETTINGS) as stack:
        drill = Drill(stack, seconds=9, older_database=older_database)
        books = asyncio.run(drill.run())

    assert books.balances, books
    # Otherwise there was nothing to lose.
    assert books.accepted_after_backup > 0
    assert books.forgotten_by_temporal > 0
    assert books.opt_outs > 0
    assert older_database is (books.attempts_restored > 0)
