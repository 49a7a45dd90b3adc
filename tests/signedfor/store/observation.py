"""Counting what a database does."""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, event


@dataclass
class Work:
    """Statements and transactions of a database."""

    statements: list[str] = field(default_factory=list)
    """Without those that begin or end a transaction."""
    begins: int = 0
    ends: list[str] = field(default_factory=list)
    """How each transaction ended: `commit` or `rollback`."""


def observed(engine: Engine) -> Work:
    """What the database does from now on."""
    work = Work()

    def note_statement(*given: Any) -> None:
        if not given[2].startswith("BEGIN"):  # SQLAlchemy begins SQLite's transactions so
            work.statements.append(given[2])

    def note_begin(_: object) -> None:
        work.begins += 1

    event.listen(engine, "before_cursor_execute", note_statement)
    event.listen(engine, "begin", note_begin)
    event.listen(engine, "commit", lambda _: work.ends.append("commit"))
    event.listen(engine, "rollback", lambda _: work.ends.append("rollback"))
    return work
