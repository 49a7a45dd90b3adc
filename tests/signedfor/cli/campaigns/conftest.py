from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from signedfor.store.database import open_engine
from tests.signedfor.cli.support import CommandLine


@pytest.fixture
def cli(cli_without_worker: CommandLine, sqlite_url: str) -> CommandLine:
    """The command line with Temporal and a database."""
    return CommandLine(env={**cli_without_worker.env, "DATABASE_URL": sqlite_url})


@pytest.fixture
def cli_engine(cli: CommandLine) -> Iterator[Engine]:
    """The database that the command line works on."""
    engine = open_engine(cli.env["DATABASE_URL"])
    yield engine
    engine.dispose()
