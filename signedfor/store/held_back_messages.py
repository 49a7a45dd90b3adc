"""The messages that were not sent because of what stood for their recipient."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import Engine, select

from signedfor.consent import Suppression, addresses_of, person
from signedfor.contract import MessageRequest
from signedfor.store.database import delete_in_batches, insert_if_new, transaction
from signedfor.store.tables import held_back_messages, utc_now

NO_OPT_IN: Final = "no_opt_in"
"""The reason where no suppression stood, but an opt-in was missing."""
_table = held_back_messages.c


@dataclass(frozen=True, kw_only=True)
class HeldBackMessage:
    """A message that ended as suppressed, and why."""

    message_id: str
    at: datetime
    sender: str = field(repr=False)
    category: str | None
    reason: str
    """Of the suppression, or `NO_OPT_IN`."""
    evidence: str = field(repr=False)


class HeldBackMessages:
    """The record of them in the database of `engine`; kept like the history of suppressions.

    Raises `signedfor.store.database.DatabaseUnavailable` when the database cannot answer.
    """

    def __init__(self, engine: Engine, *, now: Callable[[], datetime] = utc_now) -> None:
        self._engine = engine
        self._now = now

    def record(
        self,
        message_id: str,
        message: MessageRequest,
        *,
        sender: str,
        because: Suppression | None,
    ) -> None:
        """Record that it was not sent; None: for want of an opt-in. The first reason stays."""
        with transaction(self._engine) as connection:
            connection.execute(
                insert_if_new(connection, held_back_messages).values(
                    message_id=message_id,
                    recipient=person(message.to),
                    at=self._now(),
                    sender=sender,
                    category=message.category,
                    reason=NO_OPT_IN if because is None else because.reason.value,
                    evidence="" if because is None else because.evidence,
                )
            )

    def purge(self, *, before: datetime, stop: threading.Event | None = None) -> int:
        """Delete older records in batches; return how many."""
        return delete_in_batches(self._engine, held_back_messages, _table.at < before, stop=stop)

    def of(self, recipient: str) -> list[HeldBackMessage]:
        """Every such message to the person, oldest first."""
        query = (
            select(held_back_messages)
            .where(_table.recipient.in_({recipient, *addresses_of(person(recipient))}))
            .order_by(_table.at, _table.message_id)
        )
        with transaction(self._engine, read_only=True) as connection:
            return [
                HeldBackMessage(
                    message_id=row.message_id,
                    at=row.at,
                    sender=row.sender,
                    category=row.category,
                    reason=row.reason,
                    evidence=row.evidence,
                )
                for row in connection.execute(query)
            ]
