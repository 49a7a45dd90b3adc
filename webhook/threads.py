"""Runs the database's transactions in threads, no more at a time than it does well."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

import anyio
from anyio import to_thread
from sqlalchemy import Engine

from signedfor.store.database import DatabaseUnavailable

MOST_TRANSACTIONS: Final = 8
"""At a time; the engine's pool should be no smaller."""
_QUEUE_SECONDS = 5.0
"""How long a transaction waits for a thread; the database's own timeouts bound it from then on."""

_Result = TypeVar("_Result")


def transactions_at_a_time(engine: Engine) -> int:
    """How many transactions the database of `engine` does best at a time.

    SQLite lets one writer in and makes the others sleep without a queue. Measured: eight at a time
    did half of what one does, and their slowest percent took 340 ms instead of 2.
    """
    return 1 if engine.dialect.name == "sqlite" else MOST_TRANSACTIONS


class DatabaseThreads:
    """The threads in which one process uses one database."""

    def __init__(self, engine: Engine) -> None:
        self._limiter = anyio.CapacityLimiter(transactions_at_a_time(engine))

    async def run(self, transact: Callable[..., _Result], *args: Any, **kwargs: Any) -> _Result:
        """Call `transact` in a thread and wait for it.

        Raises:
            DatabaseUnavailable: it says so, or got no turn in time.
        """
        try:
            # A transaction that has begun is waited for: its thread could not be stopped anyway.
            with anyio.fail_after(_QUEUE_SECONDS):
                return await to_thread.run_sync(
                    partial(transact, *args, **kwargs), limiter=self._limiter
                )
        except TimeoutError:
            raise DatabaseUnavailable("The database is too slow.") from None
