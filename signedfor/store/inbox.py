"""The callback inbox: receipts that wait in the database while Temporal is unavailable."""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, Update, bindparam, delete, func, select, text, update

from signedfor.contract import DeliveryStatus
from signedfor.store.database import delete_in_batches, insert_if_new, transaction
from signedfor.store.tables import inbox, utc_now

# One process at a time leases rows. Any number that no other lock uses: "inbox" in ASCII.
_ADVISORY_LOCK = int.from_bytes(b"inbox")
_MAX_FAILED_ATTEMPTS = 1_000_000
_column = inbox.c


@dataclass(frozen=True, kw_only=True)
class QueuedReceipt:
    """A receipt in the inbox; `failed_attempts` counts failed deliveries to Temporal."""

    id: int
    message_id: str
    message_sid: str
    message_status: str
    error_code: int | None
    received_at: datetime
    failed_attempts: int

    def delivery_status(self) -> DeliveryStatus:
        """The signal's argument; pydantic.ValidationError if the row is not a valid receipt."""
        return DeliveryStatus(
            message_sid=self.message_sid,
            message_status=self.message_status,
            error_code=self.error_code,
            received_at=self.received_at,
        )


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """How many receipts or messages wait, and when the oldest was received."""

    count: int
    oldest: datetime | None


class Inbox:
    """The inbox in the database of `engine`; several processes may write to it and drain it.

    Receipts of one message are leased in their order of arrival, and to one process at a time: a
    lease covers the message. A receipt that is held keeps its lease, so later receipts wait behind
    it. A postponed receipt lets later ones pass, so one that can never be delivered blocks nothing.

    Raises `signedfor.store.database.DatabaseUnavailable` when the database cannot answer.
    """

    def __init__(self, engine: Engine, *, now: Callable[[], datetime] = utc_now) -> None:
        self._engine = engine
        self._now = now

    def put(self, receipts: Sequence[tuple[str, DeliveryStatus]]) -> None:
        """Store receipts, each with its message id, in one transaction.

        A receipt with the same message, SID and status as one in the inbox is ignored.
        """
        now = self._now()
        rows = [
            {
                "message_id": message_id,
                "message_sid": status.message_sid,
                "message_status": status.message_status,
                "error_code": status.error_code,
                "received_at": status.received_at or now,
                "failed_attempts": 0,
                "due_at": now,
            }
            for message_id, status in receipts
        ]
        if not rows:
            return
        with transaction(self._engine) as connection:
            connection.execute(insert_if_new(connection, inbox), rows)

    def lease(self, *, limit: int, duration: timedelta) -> list[QueuedReceipt]:
        """The next receipts in order, leased to the caller until it settles them.

        When the lease expires, another process may lease them.
        """
        with transaction(self._engine) as connection:
            _serialize_leasing(connection)
            now = self._now()
            earlier = inbox.alias("earlier")
            is_leased = (
                select(earlier.c.id)
                .where(earlier.c.message_id == _column.message_id, earlier.c.leased_until > now)
                .exists()
            )
            query = (
                select(inbox)
                .where(_column.due_at <= now, ~is_leased)
                .order_by(_column.id)
                .limit(limit)
            )
            rows = connection.execute(query).all()
            if rows:
                leased = update(inbox).where(_column.id.in_([row.id for row in rows]))
                connection.execute(leased.values(leased_until=now + duration))
        return [
            QueuedReceipt(
                id=row.id,
                message_id=row.message_id,
                message_sid=row.message_sid,
                message_status=row.message_status,
                error_code=row.error_code,
                received_at=row.received_at,
                failed_attempts=row.failed_attempts,
            )
            for row in rows
        ]

    def settle(
        self,
        *,
        delivered: Collection[int] = (),
        postponed: Mapping[int, datetime] | None = None,
        held: Mapping[int, datetime] | None = None,
        released: Collection[int] = (),
    ) -> None:
        """Report, by row id, the result of leased receipts.

        `delivered` receipts are deleted; `released` ones can be leased again at once. `postponed`
        and `held` ones can be leased again from the given time and count a failed attempt; until
        then a held receipt also blocks the later receipts of its message.
        """
        with transaction(self._engine) as connection:
            if delivered:
                connection.execute(delete(inbox).where(_column.id.in_(delivered)))
            if postponed:
                failed = _count_failure().values(due_at=bindparam("until"), leased_until=None)
                connection.execute(failed, _parameters(postponed))
            if held:
                failed = _count_failure().values(leased_until=bindparam("until"))
                connection.execute(failed, _parameters(held))
            if released:
                connection.execute(
                    update(inbox).where(_column.id.in_(released)).values(leased_until=None)
                )

    def backlog(self) -> Backlog:
        """The whole backlog, including leased and postponed receipts."""
        query = select(func.count(), func.min(_column.received_at))
        with transaction(self._engine, read_only=True) as connection:
            count, oldest = connection.execute(query).one()
        return Backlog(count=count, oldest=oldest)

    def purge(self, *, before: datetime, stop: threading.Event | None = None) -> int:
        """Delete older receipts, whose messages are gone, in batches; return how many."""
        return delete_in_batches(self._engine, inbox, _column.received_at < before, stop=stop)

    def message_ids(self, *, limit: int) -> frozenset[str] | None:
        """The messages that have receipts here; None if there are more than `limit`."""
        query = select(_column.message_id).distinct().limit(limit + 1)
        with transaction(self._engine, read_only=True) as connection:
            found = frozenset(connection.scalars(query))
        return found if len(found) <= limit else None


def _serialize_leasing(connection: Connection) -> None:
    """Let one process lease at a time: two at once would find the same receipts free."""
    if connection.dialect.name == "postgresql":  # on SQLite the transaction itself is the lock
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})


def _count_failure() -> Update:
    """Count a failed attempt for the receipt in the parameter `row`."""
    return (
        update(inbox)
        .where(_column.id == bindparam("row"), _column.failed_attempts < _MAX_FAILED_ATTEMPTS)
        .values(failed_attempts=_column.failed_attempts + 1)
    )


def _parameters(until: Mapping[int, datetime]) -> list[dict[str, int | datetime]]:
    return [{"row": id_, "until": time} for id_, time in until.items()]
