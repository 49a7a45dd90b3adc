"""Migrations: complete, repeatable, and safe to run from several processes."""

import os
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, MetaData, delete, insert, inspect, select, text

from signedfor.consent import Reason, Scope
from signedfor.store.database import DatabaseUnavailable, open_engine, transaction
from signedfor.store.inbound import Decision, InboundMessages
from signedfor.store.message_counts import Count, Interval, MessageCounts
from signedfor.store.migrate import (
    NEWEST,
    DatabaseIncompatible,
    MigrationsPending,
    _config,
    _scripts,
    compare,
    pending,
    require_usable,
    upgrade,
)
from signedfor.store.suppressions import Suppressions
from signedfor.store.tables import (
    inbound_messages,
    message_index,
    metadata,
    schema_compatibility,
)

FIRST = "0001 (All tables of the first release)"
ROOT = Path(__file__).parents[3]
SENDER = "+15005550006"
BEGIN = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)
LATER = BEGIN + timedelta(seconds=5)


def _checks(engine: Engine) -> dict[str, list[tuple[str | None, str]]]:
    inspector = inspect(engine)
    return {
        table: sorted(
            (check["name"], check["sqltext"]) for check in inspector.get_check_constraints(table)
        )
        for table in metadata.tables
    }


def test_the_newest_migration_is_known_without_alembic() -> None:
    """The revision of an up-to-date database is that of the last script."""
    assert NEWEST == _scripts().get_current_head()


def test_checking_a_database_imports_no_slow_package(sqlite_url: str) -> None:
    """A command that only needs an up-to-date SQLite file loads neither Temporal nor Alembic."""
    code = (
        "import sys\n"
        "from signedfor.settings import DatabaseSettings\n"
        "from signedfor.store.migrate import pending\n"
        "from signedfor.store.suppressions import Suppressions\n"
        "print(pending(DatabaseSettings().database_url))\n"
        "print({'temporalio', 'alembic', 'psycopg', 'twilio'} & {*sys.modules})"
    )
    environment = os.environ | {"DATABASE_URL": sqlite_url}

    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )

    assert ["[]", "set()"] == run.stdout.splitlines()


def test_the_migrated_schema_matches_the_metadata(engine: Engine) -> None:
    """The migrations create exactly the tables, columns and indexes that the code declares."""
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        differences = compare_metadata(context, metadata)

    assert not differences


def test_the_comparison_detects_differences(engine: Engine) -> None:
    """A table that the code does not declare is a difference."""
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), MetaData())

    assert differences


def test_the_migrated_check_constraints_match_the_metadata(empty_database_url: str) -> None:
    """Alembic does not compare them."""
    upgrade(empty_database_url)
    engine = open_engine(empty_database_url)
    try:
        migrated = _checks(engine)
        metadata.drop_all(engine)
        metadata.create_all(engine)

        assert _checks(engine) == migrated
        assert migrated["suppressions"]
    finally:
        engine.dispose()


def test_upgrade_applies_each_migration_once(empty_database_url: str) -> None:
    """It applies all pending migrations; afterwards none is pending."""
    before = pending(empty_database_url)
    applied = upgrade(empty_database_url)

    assert before == applied
    assert applied[0] == FIRST
    assert not pending(empty_database_url)
    assert not upgrade(empty_database_url)


def test_checking_creates_no_file(tmp_path: Path) -> None:
    """Checking a SQLite database that does not exist does not create it."""
    path = tmp_path / "missing.db"

    assert pending(f"sqlite:///{path}")[0] == FIRST
    assert not path.exists()


def test_a_new_sqlite_file_is_private(tmp_path: Path) -> None:
    """Other users cannot read a database file that upgrade creates, or its folder."""
    path = tmp_path / "new" / "folder" / "my.db"
    upgrade(f"sqlite:///{path}")

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_path_may_contain_a_percent_sign(tmp_path: Path) -> None:
    """Alembic's configuration does not interpolate it."""
    url = f"sqlite:///{tmp_path / '100%s' / 'my.db'}"
    upgrade(url)

    assert not pending(url)


def test_a_migrated_database_is_usable(engine: Engine) -> None:
    """Nothing is missing, and there is nothing to warn of."""
    assert require_usable(engine).warning is None


def test_missing_migrations_are_named_with_the_command(empty_database_url: str) -> None:
    """The error for a database that was never migrated says what is missing and what to run."""
    engine = open_engine(empty_database_url)
    try:
        with pytest.raises(MigrationsPending) as caught:
            require_usable(engine)
    finally:
        engine.dispose()

    assert FIRST in str(caught.value)
    assert "signedfor migrate" in str(caught.value)


def migrated_by_a_newer_version(engine: Engine, *, oldest_program: str | None) -> None:
    """Have the database say that a newer version has migrated it, and who may use it."""
    with transaction(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        connection.execute(delete(schema_compatibility))
        if oldest_program is not None:
            row = {"id": 1, "oldest_program": oldest_program}
            connection.execute(insert(schema_compatibility).values(row))


@pytest.mark.parametrize("oldest_program", ["0001", NEWEST])
def test_a_newer_database_is_used(engine: Engine, database_url: str, oldest_program: str) -> None:
    """Unless it is marked: with a warning that names both migrations. `upgrade` changes nothing."""
    migrated_by_a_newer_version(engine, oldest_program=oldest_program)

    schema = require_usable(engine)

    assert schema == compare(database_url)
    assert "9999" == schema.newer
    assert "migration 9999" in str(schema.warning)
    assert NEWEST in str(schema.warning)
    assert [] == upgrade(database_url)
    assert "9999" == compare(database_url).newer


@pytest.mark.parametrize("oldest_program", [f"{int(NEWEST) + 1:04}", "9999", None])
def test_a_newer_database_that_is_marked_is_refused(
    engine: Engine, database_url: str, oldest_program: str | None
) -> None:
    """The error says what to run. One that says nothing of older versions is refused too."""
    migrated_by_a_newer_version(engine, oldest_program=oldest_program)

    for use in (lambda: require_usable(engine), lambda: upgrade(database_url)):
        with pytest.raises(DatabaseIncompatible, match="Run the version that migrated it"):
            use()


def test_a_database_of_another_program_is_refused(engine: Engine, database_url: str) -> None:
    """Its revision is none of ours."""
    with transaction(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'from_the_future'"))

    for use in (lambda: require_usable(engine), lambda: upgrade(database_url)):
        with pytest.raises(DatabaseIncompatible):
            use()


def test_the_database_says_which_versions_may_use_it(empty_database_url: str) -> None:
    """As the newest of the marked migrations says; each mark is a version that there was."""
    scripts = list(_scripts().walk_revisions())
    marks = {script.revision: getattr(script.module, "oldest_program", None) for script in scripts}
    upgrade(empty_database_url)
    engine = open_engine(empty_database_url)
    with transaction(engine, read_only=True) as connection:
        recorded = connection.scalar(select(schema_compatibility.c.oldest_program))
    engine.dispose()

    assert max(mark for mark in marks.values() if mark) == recorded
    assert [] == [revision for revision, mark in marks.items() if mark and mark > revision]


def test_a_failed_migration_is_rolled_back(empty_database_url: str) -> None:
    """This includes the tables that it has created."""
    engine = open_engine(empty_database_url)
    try:
        with transaction(engine) as connection:
            connection.execute(text("CREATE TABLE inbound_messages (other INTEGER)"))
        # SQLite raises an OperationalError, PostgreSQL a ProgrammingError.
        with pytest.raises(Exception, match="already exists"):
            upgrade(empty_database_url)

        assert inspect(engine).get_table_names() == ["inbound_messages"]
    finally:
        engine.dispose()


def test_a_downgrade_removes_everything(engine: Engine, database_url: str) -> None:
    """All migrations can be applied again after it."""
    config = _config()
    with transaction(engine) as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")

    assert inspect(engine).get_table_names() == ["alembic_version"]
    assert upgrade(database_url)[0] == FIRST


def test_reviews_that_were_pending_suppress_after_the_upgrade(empty_database_url: str) -> None:
    """Marketing messages, until they are decided, unless the person has opted in since."""
    config, revision = _config(), _scripts().get_revision("0006")
    engine = open_engine(empty_database_url)
    messages = [
        ("SM1", "review", "+15558675301", SENDER, BEGIN, None),
        ("SM2", "review", "whatsapp:+15558675301", SENDER, LATER, None),
        ("SM3", "review", "+15558675302", SENDER, BEGIN, LATER),
        ("SM4", "review", "+15558675303", SENDER, BEGIN, None),
        ("SM5", "start", "whatsapp:+15558675303", SENDER, LATER, None),
        ("SM6", "review", "+15558675304", SENDER, BEGIN, None),
        ("SM7", "yes", "+15558675304", "12345", LATER, None),
        ("SM8", "other", "+15558675305", SENDER, BEGIN, None),
    ]
    try:
        with transaction(engine) as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, str(revision.down_revision))
            for sid, kind, from_address, to_address, received_at, reviewed_at in messages:
                connection.execute(
                    insert(inbound_messages).values(
                        message_sid=sid,
                        kind=kind,
                        from_address=from_address,
                        to_address=to_address,
                        received_at=received_at,
                        reviewed_at=reviewed_at,
                    )
                )
        upgrade(empty_database_url)

        rows = Suppressions(engine).list_()
        assert {("+15558675301", "SM2"), ("+15558675304", "SM6")} == {
            (row.recipient, row.evidence) for row in rows
        }
        assert {(Reason.REVIEW, Scope.CATEGORY, "marketing", SENDER)} == {
            (row.reason, row.scope, row.scope_value, row.to_sender) for row in rows
        }
        inbound = InboundMessages(engine)
        for sid in ("SM2", "SM1", "SM6"):
            assert Decision.NO_OPT_OUT is inbound.decide(sid, is_opt_out=False, by="ops")
        assert [] == Suppressions(engine).list_()
        assert ["recorded", "lifted"] == [
            each.action for each in Suppressions(engine).history("+15558675304")
        ]
    finally:
        engine.dispose()


def test_messages_that_were_indexed_before_are_counted(empty_database_url: str) -> None:
    """By the hour in which they ended."""
    config = _config()
    engine = open_engine(empty_database_url)
    row = {"run_id": "r", "started_at": BEGIN, "status": "delivered"}
    ends = {"m1": BEGIN + timedelta(minutes=59, microseconds=7), "m2": None}
    try:
        with transaction(engine) as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "0012")
            for message_id, closed_at in ends.items():
                connection.execute(
                    insert(message_index).values(message_id=message_id, closed_at=closed_at, **row)
                )
        upgrade(empty_database_url)

        assert [Count(BEGIN, "delivered", 1)] == MessageCounts(engine).over_time(
            Interval.HOUR, since=BEGIN, until=BEGIN + timedelta(days=1)
        )
    finally:
        engine.dispose()


@pytest.mark.integration
def test_concurrent_upgrades_succeed(empty_database_url: str) -> None:
    """One of the processes applies the migrations."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "starter", "--env-file", os.devnull, "migrate"],
            cwd=ROOT,
            env={**os.environ, "DATABASE_URL": empty_database_url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    results = [process.communicate(timeout=90) for process in processes]

    assert [process.returncode for process in processes] == [0] * 4, results
    assert sum(FIRST in output for output, _ in results) == 1
    assert not pending(empty_database_url)


def test_upgrading_an_unreachable_database_raises_an_error() -> None:
    """It is the error for an unavailable database."""
    with pytest.raises(DatabaseUnavailable):
        upgrade("postgresql://user@127.0.0.1:1/name")
