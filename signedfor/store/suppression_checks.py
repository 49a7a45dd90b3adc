"""The conditions under which a suppression blocks a message, as one statement checks them.

They are built once, because they are used for each message, and building them takes four times the
CPU of running them.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from sqlalchemy import BindParameter, ColumnElement, String, and_, bindparam, exists, or_

from signedfor.consent import Reason, Scope, Source, person
from signedfor.store.tables import suppressions

_table = suppressions.c
_Text = str | BindParameter[str]


def scopes_of(*, sender: _Text | None, category: _Text | None) -> list[ColumnElement[bool]]:
    """The conditions of which one holds if a suppression covers a message of these."""
    scopes = [_table.scope == Scope.EVERYTHING]
    if sender is not None:
        scopes.append(and_(_table.scope == Scope.SENDER, _table.scope_value == sender))
    if category is not None:
        scopes.append(and_(_table.scope == Scope.CATEGORY, _table.scope_value == category))
    if sender is not None and category is not None:
        scopes.append(
            and_(
                _table.scope == Scope.SENDER_CATEGORY,
                _table.scope_value == category,
                _table.to_sender == sender,
            )
        )
    return scopes


STANDS: Final = or_(
    _table.expires_at.is_(None),
    _table.expires_at > bindparam("suppressed_at", type_=_table.expires_at.type),
)
"""Those that are not over."""
_THE_ADDRESS: Final = [
    bindparam(each, type_=String) for each in ("recipient", "recipient_pseudonym")
]
_THE_PERSON: Final = [bindparam(each, type_=String) for each in ("person", "person_pseudonym")]
APPLIES: Final = and_(
    STANDS,
    _table.recipient.in_([*_THE_ADDRESS, *_THE_PERSON]),
    or_(_table.recipient.in_(_THE_ADDRESS), _table.reason != Reason.UNDELIVERABLE),
    # A sender or category of None equals nothing, so it adds no scope.
    or_(
        *scopes_of(
            sender=bindparam("sender", type_=String), category=bindparam("category", type_=String)
        )
    ),
)
"""The condition under which a suppression blocks a message; `applying_to` has its parameters.

A suppression of the bare number covers its channel addresses too, except that an undeliverable
number says nothing about other channels (a landline can have WhatsApp). That of an erased person
has a pseudonym.
"""

LIFTED_BY_REACH: Final = and_(
    _table.reason == Reason.UNDELIVERABLE,
    _table.source == Source.TWILIO_CODE,
    # What has no end is not about the address's reach.
    _table.expires_at.is_not(None),
)
"""What a delivery disproves."""
UNREACHABLE: Final = exists(_table.id).where(LIFTED_BY_REACH, _table.recipient.in_(_THE_ADDRESS))
"""Whether a delivery would show that Twilio's codes are wrong about the recipient by now."""


def applying_to(
    recipient: str,
    *,
    sender: str | None,
    category: str | None,
    now: datetime,
    pseudonym: Callable[[str], str],
) -> dict[str, Any]:
    """The parameters of `APPLIES` for a message; `pseudonym` is that of `People`."""
    someone = person(recipient)
    return {
        "suppressed_at": now,
        "recipient": recipient,
        "recipient_pseudonym": pseudonym(recipient),
        "person": someone,
        "person_pseudonym": pseudonym(someone),
        "sender": sender,
        "category": category,
    }
