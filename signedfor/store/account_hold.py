"""The account's hold: while Twilio refuses its requests, messages wait and one is tried at a time.

Wrong credentials or a suspended account are no fault of a message. The first refusal begins the
hold, and the first request that Twilio takes again ends it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Engine, bindparam, delete, exists, or_, select, update

from signedfor.clock import MAX_SKEW
from signedfor.store.database import insert_for, transaction
from signedfor.store.tables import account_hold, utc_now

TRY_INTERVAL: Final = timedelta(seconds=30)
"""While the account is held, one message is tried this often."""

_MAX_WAIT: Final = TRY_INTERVAL + 2 * MAX_SKEW
"""A try that is further ahead was set by a wrong clock, and holds nothing."""

_column = account_hold.c
_ROW: Final = 1
_now = bindparam("hold_now", type_=_column.next_try_at.type)
_latest = bindparam("hold_latest", type_=_column.next_try_at.type)
HELD = exists().where(_column.next_try_at > _now, _column.next_try_at <= _latest)
"""Whether no message may be tried at `hold_now`."""
EXISTS = exists().where(_column.id == _ROW)
"""Whether the account is held at all."""
_TAKE_TRY = (
    update(account_hold)
    .where(or_(_column.next_try_at <= _now, _column.next_try_at > _latest))
    .values(next_try_at=bindparam("hold_until", type_=_column.next_try_at.type))
)


@dataclass(frozen=True)
class Hold:
    """Twilio refuses the account's requests."""

    error_code: int | None
    since: datetime
    next_try_at: datetime

    def is_due(self, now: datetime) -> bool:
        """Whether a message may be tried."""
        return not now < self.next_try_at <= now + _MAX_WAIT


class AccountHold:
    """The hold in the database of `engine`; every worker of the account shares it."""

    def __init__(self, engine: Engine, *, now: Callable[[], datetime] = utc_now) -> None:
        self._engine = engine
        self._now = now

    def find(self) -> Hold | None:
        """The hold, if there is one."""
        query = select(_column.error_code, _column.since, _column.next_try_at)
        with transaction(self._engine, read_only=True) as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else Hold(*row)

    def begin(self, error_code: int | None) -> bool:
        """Hold the account, or hold it for longer; whether that is new."""
        now = self._now()
        held = {"error_code": error_code, "next_try_at": now + TRY_INTERVAL}
        with transaction(self._engine) as connection:
            is_new = not connection.execute(select(EXISTS)).scalar_one()
            insert = insert_for(connection.dialect.name, account_hold)
            connection.execute(
                insert.values(id=_ROW, since=now, **held).on_conflict_do_update(
                    index_elements=[_column.id], set_=held
                )
            )
        return is_new

    def end(self) -> None:
        """Send again: Twilio takes the account's requests."""
        with transaction(self._engine) as connection:
            connection.execute(delete(account_hold))


def parameters(now: datetime) -> dict[str, Any]:
    """What the statements of this module need."""
    return {
        "hold_now": now,
        "hold_until": now + TRY_INTERVAL,
        "hold_latest": now + _MAX_WAIT,
    }


def take_try(connection: Connection, now: datetime) -> bool:
    """Take the next try, in the caller's transaction; False if another message has it."""
    return connection.execute(_TAKE_TRY, parameters(now)).rowcount == 1
