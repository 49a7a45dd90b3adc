"""The audit log: who did what, when and why. Rows are added, never changed, and kept for years."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Engine, insert, select

from signedfor.consent import person
from signedfor.masks import masked_recipient, masked_sender
from signedfor.store.database import delete_oldest, transaction
from signedfor.store.people import People
from signedfor.store.tables import audit_log, utc_now

PAUSE_SENDER: Final = "sender.pause"
"""The action of a person, or of the breaker, that pauses the sender that is its subject."""
MAX_WHY: Final = 500
MAX_SUBJECT: Final = 255
_column = audit_log.c


@dataclass(frozen=True, kw_only=True)
class Action:
    """Something that a person did."""

    at: datetime
    number: int
    """Its place in the log, ascending."""
    who: str
    role: str
    action: str
    """Such as `sender.pause`."""
    subject: str
    """What it concerns, without a phone number: a message id, a masked number, a campaign."""
    why: str | None
    details: str | None
    """If it concerns a person, it begins with `person` and their reference."""


class AuditLog:
    """The audit log in the database of `engine`."""

    def __init__(self, engine: Engine, *, now: Callable[[], datetime] = utc_now) -> None:
        self._engine = engine
        self._people = People(engine)
        self._now = now

    def add(
        self,
        *,
        who: str,
        role: str,
        action: str,
        subject: str = "",
        why: str | None = None,
        details: str | None = None,
        recipient: str | None = None,
        connection: Connection | None = None,
    ) -> None:
        """Record an action. Called before it is done: what cannot be recorded is not done.

        If it concerns a person, `recipient` is their address: the subject is their masked number
        then, and the details begin with their reference (`signedfor.store.people`).
        """
        if recipient is not None:
            subject = person_subject(recipient)
            about = _about(self._people.reference(recipient))
            details = f"{about}; {details}" if details else about
        with transaction(self._engine, joining=connection) as open_connection:
            open_connection.execute(
                insert(audit_log).values(
                    at=self._now(),
                    who=who,
                    role=role,
                    action=action,
                    subject=subject[:MAX_SUBJECT],
                    why=why[:MAX_WHY] if why else None,
                    details=details,
                )
            )

    def purge(self, *, before: datetime, stop: threading.Event | None = None) -> int:
        """Delete older entries in batches; return how many. The database keeps the last year."""
        return delete_oldest(self._engine, audit_log, _column.at, before=before, stop=stop)

    def entries(
        self,
        *,
        filters: Mapping[str, str] | None = None,
        reference: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> Sequence[Action]:
        """The newest first. `filters` compares `who`, `action` and `subject`.

        `reference` is a person's; give the subject too, or the whole log is read.
        """
        query = select(audit_log).order_by(_column.number.desc()).limit(limit)
        for name, value in (filters or {}).items():
            query = query.where(audit_log.c[name] == value)
        if reference is not None:
            query = query.where(_column.details.startswith(_about(reference), autoescape=True))
        if before is not None:
            query = query.where(_column.number < before)
        with transaction(self._engine, read_only=True) as connection:
            return [Action(**row) for row in connection.execute(query).mappings()]

    def pauses(self, senders: Iterable[str]) -> dict[str, Action]:
        """The newest pause of each sender, if the log has one; it may have been resumed since.

        Senders that look the same masked are not distinguished.
        """
        found = {}
        for sender in senders:
            wanted = {"action": PAUSE_SENDER, "subject": masked_sender(sender)}
            for action in self.entries(filters=wanted, limit=1):
                found[sender] = action
        return found


def person_subject(recipient: str) -> str:
    """The subject of actions that concern the person whom the address reaches."""
    return masked_recipient(person(recipient))


def _about(reference: str) -> str:
    return f"person {reference}"
