"""The PostgreSQL server of a cluster."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest

from devtools.stack.ports import free_ports
from devtools.stack.postgres import Postgres, find_binaries
from devtools.stack.processes import ProcessGroup, StackError

pytestmark = pytest.mark.integration


@pytest.fixture
def server() -> Iterator[Postgres]:
    """A server with a password, not started yet."""
    try:
        find_binaries()
    except StackError as missing:
        pytest.skip(str(missing))
    # Not pytest's temporary folder, which only the user who runs the tests can read.
    with TemporaryDirectory(prefix="signedfor-postgres-") as name, ProcessGroup() as group:
        folder = Path(name)
        (port,) = free_ports(1)
        made = Postgres(
            folder=folder, port=port, group=group, log=folder / "log", user="owner", password="pw"
        )
        made.initialise()
        yield made
        made.stop()


def test_it_keeps_what_was_committed_before_a_kill(server: Postgres) -> None:
    """A row is there after `kill -9` and a start."""
    server.start()
    server.execute("CREATE DATABASE kept")
    with psycopg.connect(server.url("kept")) as connection:
        connection.execute("CREATE TABLE rows (id integer)")
        connection.execute("INSERT INTO rows VALUES (17)")

    server.kill()
    server.start()

    with psycopg.connect(server.url("kept")) as connection:
        assert [(17,)] == connection.execute("SELECT id FROM rows").fetchall()


def test_it_wants_its_password(server: Postgres) -> None:
    """Without it nobody is let in."""
    server.start()

    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"postgresql://owner@127.0.0.1:{server.port}/postgres").close()


def test_it_stops_while_somebody_is_connected(server: Postgres) -> None:
    """It does not wait until every client has left."""
    server.start()

    with psycopg.connect(server.url("postgres")):
        assert 0 == server.stop()

    assert not server.is_running
