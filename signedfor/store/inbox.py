"""Keeps receipts while Temporal is away, and hands them out again in order."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, Update, bindparam, delete, func, select, text, update

from signedfor.contract import DeliveryStatus
from signedfor.store.database import insert_if_new, transaction
from signedfor.store.tables import inbox, utc_now

# One process at a time hands out rows; any number that nobody else locks: "inbox" in ASCII.
_ADVISORY_LOCK = int.from_bytes(b"inbox")
_MOST_REFUSALS = 1_000_000
_row = inbox.c


@dataclass(frozen=True, kw_only=True)
class KeptReceipt:
    """A receipt in the inbox; `refusals` is how often Temporal refused it for what it is."""

    id: int
    message_id: str
    message_sid: str
    message_status: str
    error_code: int | None
    received_at: datetime
    refusals: int

    def delivery_status(self) -> DeliveryStatus:
        """The signal; pydantic.ValidationError if the row holds what no receipt can hold."""
        return DeliveryStatus(
            message_sid=self.message_sid,
            message_status=self.message_status,
            error_code=self.error_code,
            received_at=self.received_at,
        )


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """How much is in the inbox, and since when its oldest receipt."""

    count: int
    oldest: datetime | None


class Inbox:
    """The inbox in the database of `engine`; several processes may fill and empty it.

    Receipts of one message are handed out in their order of arrival, and never to two at a time:
    whoever took one has a lease on its message. One that is held keeps that lease, so that nothing
    passes it. Only a postponed receipt is passed by later ones, so that one that can never be
    applied holds up nothing.

    Raises `signedfor.store.database.DatabaseUnavailable` when the database cannot answer.
    """

    def __init__(self, engine: Engine, *, now: Callable[[], datetime] = utc_now) -> None:
        self._engine = engine
        self._now = now

    def put(self, receipts: Sequence[tuple[str, DeliveryStatus]]) -> None:
        """Keep receipts, each with its message id, in one transaction.

        One of the same message, SID and status that is there already is kept once.
        """
        now = self._now()
        rows = [
            {
                "message_id": message_id,
                "message_sid": status.message_sid,
                "message_status": status.message_status,
                "error_code": status.error_code,
                "received_at": status.received_at or now,
                "refusals": 0,
                "due_at": now,
            }
            for message_id, status in receipts
        ]
        if not rows:
            return
        with transaction(self._engine) as connection:
            connection.execute(insert_if_new(connection, inbox), rows)

    def take(self, *, most: int, lease: timedelta) -> list[KeptReceipt]:
        """The next receipts in order, leased to the caller until it settles them.

        After `lease` they are handed out again: their taker is taken for dead.
        """
        with transaction(self._engine) as connection:
            self._wait_for_turn(connection)
            now = self._now()
            earlier = inbox.alias("earlier")
            taken_by_another = (
                select(earlier.c.id)
                .where(earlier.c.message_id == _row.message_id, earlier.c.leased_until > now)
                .exists()
            )
            query = (
                select(inbox)
                .where(_row.due_at <= now, ~taken_by_another)
                .order_by(_row.id)
                .limit(most)
            )
            rows = connection.execute(query).all()
            if rows:
                leased = update(inbox).where(_row.id.in_([row.id for row in rows]))
                connection.execute(leased.values(leased_until=now + lease))
        return [
            KeptReceipt(
                id=row.id,
                message_id=row.message_id,
                message_sid=row.message_sid,
                message_status=row.message_status,
                error_code=row.error_code,
                received_at=row.received_at,
                refusals=row.refusals,
            )
            for row in rows
        ]

    def settle(
        self,
        *,
        done: Collection[int] = (),
        postponed: Mapping[int, datetime] | None = None,
        held: Mapping[int, datetime] | None = None,
        released: Collection[int] = (),
    ) -> None:
        """Say, by row id, what became of taken receipts.

        Those `done` are forgotten; those `released` may be taken again at once. Those `postponed`
        and those `held` come again from that moment on and count one refusal more; meanwhile a
        held one keeps whatever there is, or comes, of its message waiting behind it.
        """
        with transaction(self._engine) as connection:
            if done:
                connection.execute(delete(inbox).where(_row.id.in_(done)))
            if postponed:
                later = _once_more().values(due_at=bindparam("until"), leased_until=None)
                connection.execute(later, _moments(postponed))
            if held:
                later = _once_more().values(leased_until=bindparam("until"))
                connection.execute(later, _moments(held))
            if released:
                connection.execute(
                    update(inbox).where(_row.id.in_(released)).values(leased_until=None)
                )

    def backlog(self) -> Backlog:
        """How much there is, taken and postponed receipts included."""
        query = select(func.count(), func.min(_row.received_at))
        with transaction(self._engine, read_only=True) as connection:
            count, oldest = connection.execute(query).one()
        return Backlog(count=count, oldest=oldest)

    def message_ids(self, *, most: int) -> frozenset[str] | None:
        """The messages that have receipts here; None if they are more than `most`."""
        query = select(_row.message_id).distinct().limit(most + 1)
        with transaction(self._engine, read_only=True) as connection:
            found = frozenset(connection.scalars(query))
        return found if len(found) <= most else None

    def _wait_for_turn(self, connection: Connection) -> None:
        """Let one process at a time take receipts: two looks at once would see the same free."""
        if connection.dialect.name == "postgresql":  # on SQLite the transaction itself is the lock
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})


def _once_more() -> Update:
    """Count one refusal more of the receipt that is the parameter `row`."""
    return (
        update(inbox)
        .where(_row.id == bindparam("row"), _row.refusals < _MOST_REFUSALS)
        .values(refusals=_row.refusals + 1)
    )


def _moments(until: Mapping[int, datetime]) -> list[dict[str, int | datetime]]:
    return [{"row": id_, "until": moment} for id_, moment in until.items()]
