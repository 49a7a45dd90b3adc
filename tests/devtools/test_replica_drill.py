"""The drill of a lost PostgreSQL server and its replica."""

import asyncio
from pathlib import Path

import pytest

from devtools.backup_drill import SETTINGS
from devtools.replica_drill import ReplicaDrill, replicated
from devtools.stack.local import LocalStack

pytestmark = pytest.mark.integration


@pytest.mark.timeout(300)
def test_the_books_balance(tmp_path: Path) -> None:
    """Every message was sent once and every opt-out is in force, though commits were lost."""
    with (
        replicated() as servers,
        LocalStack(tmp_path, settings={**SETTINGS, "DATABASE_URL": servers.url}) as stack,
    ):
        drill = ReplicaDrill(stack, servers, seconds=9, lag=4)
        books = asyncio.run(drill.run())

    assert books.balances, books
    # Otherwise there was nothing to lose.
    assert books.records_of_replica < books.records_of_primary
    assert books.attempts_restored > 0
    assert books.opt_outs > 0
