"""How far the indexes are behind Temporal: every page that shows them says so."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import Engine

from signedfor.store.tables import dead_letter_index, message_index
from signedfor.store.visibility_index import read_at
from signedfor.visibility_follower import INTERVAL, is_filled

LATE: Final = 6 * INTERVAL
"""After this time without a round, something is wrong."""


@dataclass(frozen=True, kw_only=True)
class IndexState:
    """Of the indexes of messages and dead letters, the one that is further behind."""

    is_filled: bool
    """Whether they have everything yet."""
    read_at: datetime | None
    """When Temporal was read for them; None if it was not yet."""

    @property
    def is_late(self) -> bool:
        """Whether they are not kept up to date."""
        return self.read_at is None or self.age > LATE

    @property
    def age(self) -> timedelta:
        """The time since then."""
        return datetime.now(UTC) - self.read_at if self.read_at else timedelta.max


def index_state(engine: Engine) -> IndexState:
    """Their state.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    tables = message_index, dead_letter_index
    return IndexState(is_filled=is_filled(engine, *tables), read_at=read_at(engine, *tables))
