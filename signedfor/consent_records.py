"""What the command line and the operations page do with opt-outs, reviews and opt-ins.

Errors are `signedfor.errors.BadInput`, with the names of the fields: `recipient`, `sender`,
`category`, `reason`, `evidence`, `by`.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Engine

from signedfor.consent import (
    MAX_EVIDENCE,
    OptIn,
    Reason,
    Scope,
    Source,
    Suppression,
    check_text,
)
from signedfor.consent_history import Line, consent_history
from signedfor.contract.fields import Label, problems_in
from signedfor.errors import BadInput
from signedfor.masks import contains_end_of_number, masked_sender
from signedfor.store.database import transaction
from signedfor.store.held_back_messages import HeldBackMessage, HeldBackMessages
from signedfor.store.inbound import Decision, InboundMessages, Received
from signedfor.store.opt_ins import OptIns
from signedfor.store.suppressions import Suppressions
from signedfor.twilio.phone import InvalidAddress, normalize_recipient, normalize_sender

LABEL: Final[TypeAdapter[str]] = TypeAdapter(Label)
"""The name of a category."""
SET_BY_HAND: Final = tuple(reason for reason in Reason if reason is not Reason.REVIEW)
"""The reasons that an operator can record: a review is recorded with the message."""
TWILIO_KEEPS_ITS_LIST: Final = (
    "Twilio's own list is unchanged: after a STOP to Twilio, only START helps."
)
DECISIONS: Final = {
    Decision.OPT_OUT: "Opt-out recorded.",
    Decision.NO_OPT_OUT: "Recorded as read.",
    Decision.OPTED_IN_SINCE: "Recorded as read: the person has opted in again since.",
}
"""What came of a decision, in a sentence."""
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


def decide(
    inbound: InboundMessages, message_sid: str, *, is_opt_out: bool, by: str
) -> Decision | None:
    """Record what an operator says of a message; None if there is none, or it has been reviewed.

    Raises:
        BadInput: names the field.
    """
    with store_errors():
        return inbound.decide(message_sid, is_opt_out=is_opt_out, by=by)


def covers(row: Suppression, *, reveal: bool = False) -> str:
    """The scope and what it names."""

    def shown(value: str) -> str:
        return value if reveal else masked_sender(value)

    sender = shown(row.to_sender) if row.scope is Scope.SENDER_CATEGORY else ""
    return " ".join(filter(None, (row.scope, shown(row.scope_value), sender)))


@dataclass(frozen=True, kw_only=True)
class ConsentRecord:
    """All that is on record about a person."""

    suppressions: Sequence[Suppression]
    opt_ins: Sequence[OptIn]
    held_back: Sequence[HeldBackMessage]
    inbound: Sequence[Received]
    """Their newest messages."""
    history: Sequence[Line]

    def missing_opt_ins(self, required: Collection[str]) -> list[str]:
        """Those of the categories to which the person has not opted in."""
        given = {each.category for each in self.opt_ins if each.withdrawn_at is None}
        return [category for category in required if category not in given]


def consent_record(
    engine: Engine, recipient: str, *, reveal: bool = False, max_inbound: int = 100
) -> ConsentRecord:
    """All that is on record about the person whom the address reaches."""
    return ConsentRecord(
        suppressions=Suppressions(engine).of(recipient),
        opt_ins=OptIns(engine).list_(recipient=recipient, include_withdrawn=True, limit=_ALL),
        held_back=HeldBackMessages(engine).of(recipient),
        inbound=InboundMessages(engine).list_(from_person=recipient, limit=max_inbound),
        history=consent_history(engine, recipient, reveal=reveal),
    )


def check_note(recipient: str, text: str, *, field: str = "evidence") -> None:
    """Refuse a note or reason that cannot be stored, or has the person's number: all may read it.

    Raises:
        BadInput: names the field.
    """
    with store_errors():
        check_text(field, text, max_length=MAX_EVIDENCE)
    if contains_end_of_number(text, recipient):
        raise BadInput([(field, "must not contain the person's number")])


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn what the store rejects into bad input; its text names the field."""
    try:
        yield
    except ValueError as error:
        name, _, what = str(error).partition(": ")
        raise BadInput([(name, what)]) from None
