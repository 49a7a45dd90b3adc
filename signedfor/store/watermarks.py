"""Remembers up to when something has been looked at."""

from datetime import datetime

from sqlalchemy import Engine, select, update

from signedfor.store.database import insert_if_new, transaction
from signedfor.store.tables import watermarks

_row = watermarks.c


class Watermarks:
    """The watermarks in the database of `engine`; each has a name and only ever rises.

    Raises `signedfor.store.database.DatabaseUnavailable` when the database cannot answer.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def read(self, name: str) -> datetime | None:
        """Where it stands; None if it was never set."""
        with transaction(self._engine, read_only=True) as connection:
            return connection.scalar(select(_row.at).where(_row.name == name))

    def rise(self, name: str, to: datetime) -> None:
        """Set it; one that stands higher already stays."""
        with transaction(self._engine) as connection:
            connection.execute(insert_if_new(connection, watermarks).values(name=name, at=to))
            connection.execute(
                update(watermarks).where(_row.name == name, _row.at < to).values(at=to)
            )
