"""The sessions of people who have signed in to the operations page."""

import hashlib
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine, delete, insert, select

from signedfor.store.database import delete_in_batches, transaction
from signedfor.store.tables import ops_sessions, utc_now

_column = ops_sessions.c


@dataclass(frozen=True)
class StoredSession:
    """A session that has not ended."""

    name: str
    csrf_token: str
    """Every form has it, so that no other site can send one in this person's name."""
    expires_at: datetime


class OpsSessions:
    """The sessions in the database of `engine`, which holds only a hash of each token."""

    def __init__(
        self, engine: Engine, *, lifetime: timedelta, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._engine = engine
        self._lifetime = lifetime
        self._now = now

    def begin(self, name: str) -> tuple[str, StoredSession]:
        """A new session, and the token that the person's browser keeps; old ones are deleted."""
        token, csrf_token = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        session = StoredSession(name, csrf_token, self._now() + self._lifetime)
        with transaction(self._engine) as connection:
            connection.execute(delete(ops_sessions).where(_column.expires_at <= self._now()))
            connection.execute(
                insert(ops_sessions).values(
                    token_hash=_hash(token),
                    name=name,
                    csrf_token=csrf_token,
                    expires_at=session.expires_at,
                )
            )
        return token, session

    def find(self, token: str) -> StoredSession | None:
        """The session of a token, unless it has ended."""
        query = select(_column.name, _column.csrf_token, _column.expires_at).where(
            _column.token_hash == _hash(token), _column.expires_at > self._now()
        )
        with transaction(self._engine, read_only=True) as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else StoredSession(*row)

    def end(self, token: str) -> None:
        """Sign out."""
        with transaction(self._engine) as connection:
            connection.execute(delete(ops_sessions).where(_column.token_hash == _hash(token)))


def purge(engine: Engine, *, before: datetime, stop: threading.Event | None = None) -> int:
    """Delete the sessions that ended before then; return how many."""
    return delete_in_batches(engine, ops_sessions, _column.expires_at < before, stop=stop)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
