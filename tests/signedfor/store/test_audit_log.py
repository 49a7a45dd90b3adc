"""The audit log on both databases."""

import pytest
from sqlalchemy import Engine, delete, text, update

from signedfor.store.audit_log import AuditLog
from signedfor.store.tables import audit_log


@pytest.fixture
def log(engine: Engine) -> AuditLog:
    """A log with three actions."""
    log = AuditLog(engine)
    log.add(who="kim", role="act", action="sender.pause", subject="s1", why="filtered")
    log.add(who="lee", role="act", action="sender.resume", subject="s1")
    log.add(who="kim", role="act", action="message.cancel", subject="m1", details="2 of 3")
    return log


def test_the_newest_come_first(log: AuditLog) -> None:
    """Page by page."""
    newest = log.entries(limit=2)
    rest = log.entries(before=newest[-1].number)

    assert ["message.cancel", "sender.resume"] == [each.action for each in newest]
    assert [("sender.pause", "filtered", None)] == [
        (each.action, each.why, each.details) for each in rest
    ]


def test_it_is_filtered(log: AuditLog) -> None:
    """By person, action and subject."""
    assert ["m1", "s1"] == [each.subject for each in log.entries(filters={"who": "kim"})]
    assert ["lee"] == [
        each.who for each in log.entries(filters={"action": "sender.resume", "subject": "s1"})
    ]


@pytest.mark.parametrize(
    "statement",
    [
        update(audit_log).values(who="somebody else"),
        update(audit_log).where(audit_log.c.who == "kim").values(why=None),
        delete(audit_log).where(audit_log.c.who == "kim"),
        text("DELETE FROM audit_log"),
    ],
)
def test_it_only_grows(log: AuditLog, engine: Engine, statement: object) -> None:
    """The database itself refuses to change or delete a row."""
    with pytest.raises(Exception, match="append-only"), engine.begin() as connection:
        connection.execute(statement)  # type: ignore[call-overload]

    assert 3 == len(log.entries())


def test_long_texts_are_cut(engine: Engine) -> None:
    """Rather than that an action is refused because of its reason."""
    log = AuditLog(engine)
    log.add(who="kim", role="act", action="x", subject="s" * 300, why="w" * 600)

    (entry,) = log.entries()
    assert (255, 500) == (len(entry.subject), len(entry.why or ""))
