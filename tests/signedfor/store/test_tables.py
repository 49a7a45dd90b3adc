"""Guarantees of the database schema."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import Engine, exc, select, text

from signedfor.consent import Reason, Source, Suppression
from signedfor.store.database import transaction
from signedfor.store.suppressions import Suppressions
from signedfor.store.tables import inbound_messages, suppression_history, suppressions

SUPPRESSION = Suppression(
    recipient="+15558675309", reason=Reason.MANUAL, source=Source.OPERATOR, evidence="a note"
)
MESSAGE = {
    "message_sid": "SM1",
    "from_address": "+15558675309",
    "to_address": "+15005550006",
    "kind": "other",
}


def test_times_are_read_in_utc(engine: Engine) -> None:
    """A time with any UTC offset is read as the same time in UTC, to the microsecond."""
    at = datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    with transaction(engine) as connection:
        connection.execute(inbound_messages.insert(), {**MESSAGE, "received_at": at})
        stored = connection.scalar(select(inbound_messages.c.received_at))

    assert stored == at
    assert stored is not None
    assert stored.tzinfo is UTC


def test_naive_times_are_refused(engine: Engine) -> None:
    """A time without a UTC offset does not reach the database."""
    naive = datetime(2026, 3, 29, 1, 30)  # noqa: DTZ001 - it must be refused
    row = {**MESSAGE, "received_at": naive}

    with pytest.raises(exc.StatementError, match="zone"), transaction(engine) as connection:
        connection.execute(inbound_messages.insert(), row)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE suppression_history SET changed_by = 'other'",
        "DELETE FROM suppression_history",
        "DELETE FROM suppression_history WHERE id = 1",
    ],
)
def test_the_history_is_append_only(engine: Engine, statement: str) -> None:
    """The database itself refuses to change or delete history."""
    _refuses(engine, statement)


def test_the_history_cannot_be_replaced_or_truncated(engine: Engine) -> None:
    """Statements that only one kind of database has are refused too."""
    statements = {
        "sqlite": "INSERT OR REPLACE INTO suppression_history SELECT id, at, recipient, action, "
        "scope, scope_value, reason, source, evidence, 'other', '' FROM suppression_history",
        "postgresql": "TRUNCATE suppression_history",
    }
    _refuses(engine, statements[engine.dialect.name])


def _refuses(engine: Engine, statement: str) -> None:
    Suppressions(engine).record(SUPPRESSION, by="ops")
    with pytest.raises(exc.IntegrityError, match="append-only"), transaction(engine) as connection:
        connection.execute(text(statement))

    with transaction(engine, read_only=True) as connection:
        assert connection.scalars(select(suppression_history.c.changed_by)).all() == ["ops"]


@pytest.mark.parametrize(
    "change",
    [
        {"scope": "unknown"},
        {"reason": "unknown"},
        {"source": "unknown"},
        {"scope": "sender"},
        {"scope_value": "marketing"},
    ],
)
def test_invalid_values_are_refused(engine: Engine, change: dict[str, str]) -> None:
    """The database refuses a row that the code could not read."""
    row = {
        "recipient": "+15558675309",
        "scope": "everything",
        "scope_value": "",
        "reason": "manual",
        "source": "operator",
        "evidence": "",
        "created_at": datetime(2026, 11, 21, tzinfo=UTC),
    }
    with transaction(engine) as connection:
        connection.execute(suppressions.insert(), row)

    with pytest.raises(exc.IntegrityError), transaction(engine) as connection:
        connection.execute(suppressions.insert(), {**row, "recipient": "+15558675310", **change})
