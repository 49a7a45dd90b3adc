"""Putting a pseudonym in the place of an erased person's address, where a record must outlast them.

The pseudonym is theirs alone (`signedfor.store.people`): who has the number still finds the record,
and an opt-out still holds.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, select, update

from signedfor.masks import contains_end_of_number
from signedfor.store.tables import inbound_messages, opt_ins, suppression_history, suppressions

ERASED_TEXT: Final = "[erased]"
"""In the place of evidence that has the person's number. A trigger of the history knows it."""
BY_ERASURE: Final = "erasure"
"""Who has withdrawn and reviewed what stood until then."""


def pseudonymise(
    connection: Connection, pseudonyms: Mapping[str, str], *, at: datetime, by: str
) -> None:
    """Put the pseudonyms in the place of the addresses, in the caller's transaction."""
    for address, pseudonym in pseudonyms.items():
        connection.execute(
            update(inbound_messages)
            .where(inbound_messages.c.from_address == address)
            .values(from_address=pseudonym)
        )
    _opt_ins(connection, pseudonyms, at=at, by=by)
    _history(connection, pseudonyms)
    _suppressions(connection, pseudonyms)


def _opt_ins(
    connection: Connection, pseudonyms: Mapping[str, str], *, at: datetime, by: str
) -> None:
    """They are withdrawn as well: nothing is sent because of them any more."""
    column = opt_ins.c
    for row in connection.execute(select(opt_ins).where(column.recipient.in_(pseudonyms))).all():
        withdrawal: dict[str, Any] = (
            {"withdrawn_at": at, "withdrawn_by": by, "withdrawn_because": BY_ERASURE}
            if row.withdrawn_at is None
            else {"withdrawn_because": _without_number(row.withdrawn_because or "", row.recipient)}
        )
        connection.execute(
            update(opt_ins)
            .where(column.id == row.id)
            .values(
                recipient=pseudonyms[row.recipient],
                evidence=_without_number(row.evidence, row.recipient),
                **withdrawal,
            )
        )


def _history(connection: Connection, pseudonyms: Mapping[str, str]) -> None:
    column = suppression_history.c
    query = select(column.id, column.recipient, column.evidence).where(
        column.recipient.in_(pseudonyms)
    )
    for row in connection.execute(query).all():
        connection.execute(
            update(suppression_history)
            .where(column.id == row.id)
            .values(
                recipient=pseudonyms[row.recipient],
                evidence=_without_number(row.evidence, row.recipient),
            )
        )


def _suppressions(connection: Connection, pseudonyms: Mapping[str, str]) -> None:
    column = suppressions.c
    theirs = select(suppressions).where(column.recipient.in_(pseudonyms)).order_by(column.id)
    for row in connection.execute(theirs).all():
        pseudonym = pseudonyms[row.recipient]
        new = {
            "recipient": pseudonym,
            "evidence": _without_number(row.evidence, row.recipient),
            "created_at": row.created_at,
            "expires_at": row.expires_at,
        }
        # They may have been erased before, and have opted out again since.
        earlier = _with_key_of(row, pseudonym, connection)
        if earlier is not None:
            connection.execute(delete(suppressions).where(column.id == row.id))
            ends = (earlier.expires_at, row.expires_at)
            new["expires_at"] = None if None in ends else max(ends)
            if earlier.created_at > row.created_at:
                new |= {"evidence": earlier.evidence, "created_at": earlier.created_at}
        kept = row if earlier is None else earlier
        connection.execute(update(suppressions).where(column.id == kept.id).values(**new))


def _with_key_of(row: Row[Any], pseudonym: str, connection: Connection) -> Row[Any] | None:
    """The suppression that has the same key, but for the pseudonym."""
    key = ("scope", "scope_value", "reason", "source", "to_sender")
    query = select(suppressions).where(
        suppressions.c.recipient == pseudonym,
        *(suppressions.c[each] == getattr(row, each) for each in key),
    )
    return connection.execute(query).one_or_none()


def _without_number(evidence: str, address: str) -> str:
    return ERASED_TEXT if contains_end_of_number(evidence, address) else evidence
