"""Numbers that belong to somebody else now: nothing is sent to them until their holder opts in."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Engine, func, select

from signedfor.consent import Reason, Scope, Source, Suppression, addresses_of, person
from signedfor.contract import InboundKind
from signedfor.store.database import current_time, lock_person, transaction
from signedfor.store.inbound import CLOCK_MARGIN
from signedfor.store.opt_ins import OptIns
from signedfor.store.suppressions import Suppressions
from signedfor.store.tables import inbound_messages

_CHANGED_BY: Final = "reassigned number"
_column = inbound_messages.c


@dataclass(frozen=True, kw_only=True)
class Reassignment:
    """A number that, as Twilio has detected, belongs to somebody else than the one who opted in."""

    recipient: str = field(repr=False)
    sender: str = field(repr=False)
    """Of ours, whose message to the number Twilio checked; empty if unknown."""
    at: datetime | None
    """By Twilio's clock; None: now, by the database's."""
    evidence: str


class Reassignments:
    """Records in the database of `engine` that numbers were reassigned.

    The new holder has agreed to nothing, so the suppression covers everything, whatever a STOP
    covers (`scope`). A START of theirs lifts it as it lifts a STOP to the same sender. The opt-ins
    of the former holder are withdrawn: a START does not bring them back.

    Raises `signedfor.store.database.DatabaseUnavailable` when the database cannot answer.
    """

    def __init__(self, engine: Engine, *, scope: Scope) -> None:
        self._engine = engine
        self._scope = scope
        self._suppressions = Suppressions(engine)
        self._opt_ins = OptIns(engine)

    def receive(self, reassignment: Reassignment) -> bool:
        """Suppress the number and withdraw its opt-ins; False if that changes nothing.

        It is not suppressed if a START has come since.
        """
        with transaction(self._engine) as connection:
            lock_person(connection, person(reassignment.recipient))
            at = reassignment.at or current_time(connection)
            suppression = Suppression(
                recipient=reassignment.recipient,
                reason=Reason.OPTED_OUT,
                source=Source.TWILIO_CODE,
                evidence=reassignment.evidence,
                to_sender=reassignment.sender,
                created_at=at,
            )
            # Twilio sends events again, also after a START or an operator lifted it.
            if self._suppressions.was_recorded(suppression, connection=connection):
                return False
            withdrawn = self._opt_ins.withdraw(
                reassignment.recipient,
                category=None,
                until=at,
                because=reassignment.evidence,
                by=_CHANGED_BY,
                connection=connection,
            )
            if self._has_opted_in_since(at, suppression, connection):
                return withdrawn > 0
            return self._suppressions.renew(suppression, by=_CHANGED_BY, connection=connection)

    def _has_opted_in_since(
        self, at: datetime, suppression: Suppression, connection: Connection
    ) -> bool:
        """Whether a START that would lift it was recorded already."""
        later = select(_column.message_sid).where(
            _column.kind == InboundKind.START.value,
            _column.received_at >= at + CLOCK_MARGIN,
            _column.from_address.in_(addresses_of(person(suppression.recipient))),
        )
        if self._scope is Scope.SENDER:
            to_sender = func.coalesce(_column.messaging_service_sid, _column.to_address)
            later = later.where(to_sender == suppression.to_sender)
        return connection.execute(later.limit(1)).first() is not None
