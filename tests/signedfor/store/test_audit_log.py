"""The audit log on both databases."""

import contextlib

import pytest
from sqlalchemy import Engine, delete, text, update

from signedfor.store.audit_log import AuditLog, person_subject
from signedfor.store.database import transaction
from signedfor.store.people import People
from signedfor.store.tables import audit_log

PERSON = "+15558675309"


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


def test_a_person_is_named_without_the_number(engine: Engine) -> None:
    """By a masked number and a reference, by which the log is searched, on whatever channel."""
    log = AuditLog(engine)
    log.add(who="kim", role="act", action="opt-out.add", recipient=PERSON, details="a_b%")
    log.add(who="kim", role="act", action="person.unmask", recipient=f"whatsapp:{PERSON}")
    log.add(who="kim", role="act", action="person.unmask", recipient="+2555867" + PERSON[-4:])
    reference = People(engine).reference(PERSON)

    found = log.entries(reference=reference, filters={"subject": person_subject(PERSON)})

    assert [f"person {reference}", f"person {reference}; a_b%"] == [each.details for each in found]
    assert {"+*******5309"} == {each.subject for each in found}
    assert [] == log.entries(reference="%")
    assert not any(PERSON[1:] in str(each) for each in log.entries())


def test_an_action_is_recorded_with_what_it_changes(engine: Engine) -> None:
    """If the change fails, nothing is recorded."""
    log = AuditLog(engine)

    with contextlib.suppress(ZeroDivisionError), transaction(engine) as connection:
        log.add(who="kim", role="act", action="opt-out.import", connection=connection)
        raise ZeroDivisionError

    assert [] == log.entries()
