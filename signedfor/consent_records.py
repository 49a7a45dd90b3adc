"""What the command line and the operations page do with opt-outs, reviews and opt-ins.

Errors are `signedfor.errors.BadInput`, with the names of the fields: `recipient`, `sender`,
`category`, `reason`, `evidence`, `by`.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Engine

from signedfor.consent import (
    Reason,
    Scope,
    Source,
    Suppression,
)
from signedfor.contract.fields import Label, problems_in
from signedfor.errors import BadInput
from signedfor.masks import masked_sender
from signedfor.notes import check_note, store_errors
from signedfor.store.database import transaction
from signedfor.store.suppressions import Suppressions
from signedfor.twilio.phone import InvalidAddress, normalize_recipient, normalize_sender

LABEL: Final[TypeAdapter[str]] = TypeAdapter(Label)
"""The name of a category."""
SET_BY_HAND: Final = tuple(reason for reason in Reason if reason is not Reason.REVIEW)
"""The reasons that an operator can record: a review is recorded with the message."""
TWILIO_KEEPS_ITS_LIST: Final = (
    "Twilio's own list is unchanged: after a STOP to Twilio, only START helps."
)
_ALL: Final = 10_000
"""More opt-ins than there are of one person."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Whom and which messages an action concerns; no scope: that was left open."""

    recipient: str = field(repr=False)
    scope: Scope | None = None
    scope_value: str | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls, recipient: str, *, sender: str | None = None, category: str | None = None
    ) -> "Target":
        """The target that was typed.

        Raises:
            BadInput: names every field that is wrong.
        """
        problems: list[tuple[str, str]] = []
        address, scope, value = "", None, None
        try:
            address = normalize_recipient(recipient)
        except InvalidAddress as error:
            problems.append(("recipient", str(error)))
        if sender is not None and category is not None:
            problems.append(("category", "does not go with sender"))
        if sender is not None:
            scope = Scope.SENDER
            try:
                value = normalize_sender(sender)
            except InvalidAddress as error:
                problems.append(("sender", str(error)))
        elif category is not None:
            scope = Scope.CATEGORY
            try:
                value = LABEL.validate_strings(category)
            except ValidationError as error:
                problems += [("category", what) for _, what in problems_in(error)]
        if problems:
            raise BadInput(problems)
        return cls(recipient=address, scope=scope, scope_value=value)

    @property
    def covers(self) -> str:
        """What it concerns, without a whole number."""
        return " ".join(filter(None, (self.scope or Scope.EVERYTHING, self._shown_value)))

    @property
    def _shown_value(self) -> str:
        return masked_sender(self.scope_value or "")


def address_of(recipient: str) -> str:
    """The normalized address.

    Raises:
        BadInput: it is none.
    """
    try:
        return normalize_recipient(recipient)
    except InvalidAddress as error:
        raise BadInput([("recipient", str(error))]) from None


def opt_out(target: Target, *, reason: Reason, evidence: str) -> Suppression:
    """What an operator wants recorded.

    Raises:
        BadInput: names the field.
    """
    if reason not in SET_BY_HAND:
        raise BadInput([("reason", "review is recorded when a message awaits review")])
    check_note(target.recipient, evidence)
    with store_errors():
        return Suppression(
            recipient=target.recipient,
            reason=reason,
            source=Source.OPERATOR,
            scope=target.scope or Scope.EVERYTHING,
            scope_value=target.scope_value or "",
            evidence=evidence,
        )


def standing(engine: Engine, target: Target, *, reason: Reason) -> list[Suppression]:
    """What is recorded for the recipient for this reason, and of the target's scope."""
    return [
        row
        for row in Suppressions(engine).list_(
            recipient=target.recipient, reason=reason, scope=target.scope, limit=_ALL
        )
        if target.scope_value in {None, row.scope_value}
    ]


def lift(engine: Engine, rows: Collection[Suppression], *, evidence: str, by: str) -> int:
    """Lift these, which were shown to the operator: what stands besides them stays.

    Raises:
        BadInput: names the field; `check_note` finds what is wrong with the evidence before.
    """
    suppressions = Suppressions(engine)
    with store_errors(), transaction(engine) as connection:
        return sum(
            suppressions.lift(
                recipient,
                ids=[row.id for row in rows if row.recipient == recipient and row.id is not None],
                source=Source.OPERATOR,
                evidence=evidence,
                by=by,
                connection=connection,
            )
            for recipient in sorted({row.recipient for row in rows})
        )


def covers(row: Suppression, *, reveal: bool = False) -> str:
    """The scope and what it names."""

    def shown(value: str) -> str:
        return value if reveal else masked_sender(value)

    sender = shown(row.to_sender) if row.scope is Scope.SENDER_CATEGORY else ""
    return " ".join(filter(None, (row.scope, shown(row.scope_value), sender)))
