"""Migrations expand: a version that is replaced, or comes back, goes on with a newer database."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection, Engine, text

from signedfor.store.database import open_engine, transaction
from signedfor.store.migrate import NEWEST, _config, _scripts
from tests.signedfor.store.schema_changes import contractions, schema_of

EXPANDING_SINCE = "0015"
"""Later migrations only expand, unless they are marked."""


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    """A migrated database of the test's own, on each kind of database."""
    with engine.connect() as connection, connection.begin() as change:
        yield connection
        change.rollback()


def test_every_later_migration_only_expands(empty_database_url: str) -> None:
    """It takes nothing from the versions before it, unless it is marked with `oldest_program`."""
    scripts = list(reversed(list(_scripts().walk_revisions())))
    engine, config = open_engine(empty_database_url), _config()
    try:
        for script in scripts:
            with transaction(engine) as connection:
                before = schema_of(connection)
                config.attributes["connection"] = connection
                command.upgrade(config, script.revision)
            if script.revision > EXPANDING_SINCE and not hasattr(script.module, "oldest_program"):
                with transaction(engine, read_only=True) as connection:
                    assert [] == contractions(before, schema_of(connection)), script.revision
    finally:
        engine.dispose()


def test_revisions_are_in_the_order_of_their_numbers() -> None:
    """Versions compare them as text."""
    revisions = [script.revision for script in reversed(list(_scripts().walk_revisions()))]

    assert [f"{number:04}" for number in range(1, len(revisions) + 1)] == revisions
    assert NEWEST == revisions[-1]


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("DROP TABLE held_back_messages", "table held_back_messages is gone"),
        ("ALTER TABLE held_back_messages RENAME TO others", "table held_back_messages is gone"),
        ("ALTER TABLE campaigns DROP COLUMN file_columns", "column campaigns.file_columns is gone"),
        (
            "ALTER TABLE campaigns RENAME COLUMN file_columns TO columns",
            "column campaigns.file_columns is gone",
        ),
        (
            "CREATE UNIQUE INDEX one ON held_back_messages (sender)",
            "unique key held_back_messages('sender',) is new",
        ),
        ("DROP INDEX uq_opt_ins_standing", "unique key opt_ins"),
    ],
)
def test_what_takes_something_away_is_found(
    connection: Connection, statement: str, found: str
) -> None:
    """The comparison finds it on both databases."""
    before = schema_of(connection)

    connection.execute(text(statement))

    changes = contractions(before, schema_of(connection))
    assert changes
    assert changes[0].startswith(found)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"nullable": False}, "column campaigns.file_columns must not be NULL now"),
        ({"type": "int"}, "column campaigns.file_columns has another type"),
        ({"check": "length(file_columns) > 3"}, "campaigns demands more: check"),
        ({"new": "NOT NULL"}, "column campaigns.added is new, and NOT NULL without a default"),
    ],
)
def test_what_demands_more_is_found(
    connection: Connection, change: dict[str, object], found: str
) -> None:
    """Older versions write rows that such a table refuses."""
    before = schema_of(connection)

    _change(connection, change)

    [what] = contractions(before, schema_of(connection))
    assert what.startswith(found)


def test_what_only_adds_is_no_contraction(connection: Connection) -> None:
    """Tables, columns that may be left out, and indexes that are not unique."""
    before = schema_of(connection)

    for statement in (
        "CREATE TABLE added (id INTEGER NOT NULL PRIMARY KEY, needed INTEGER NOT NULL)",
        "ALTER TABLE campaigns ADD COLUMN one TEXT",
        "ALTER TABLE campaigns ADD COLUMN two INTEGER NOT NULL DEFAULT 0",
        "CREATE INDEX three ON campaigns (one)",
    ):
        connection.execute(text(statement))

    assert [] == contractions(before, schema_of(connection))
    assert before != schema_of(connection)


def _change(connection: Connection, change: dict[str, object]) -> None:
    """As a migration would; SQLite copies the table."""
    op = Operations(MigrationContext.configure(connection))
    with op.batch_alter_table("campaigns") as table:
        match change:
            case {"nullable": False}:
                table.alter_column("file_columns", existing_type=sa.Text(), nullable=False)
            case {"type": _}:
                using = "file_columns::integer"
                table.alter_column("file_columns", type_=sa.Integer(), postgresql_using=using)
            case {"check": str(condition)}:
                table.create_check_constraint("more", condition)
            case _:
                table.add_column(sa.Column("added", sa.Text(), nullable=False))
