"""The counts of senders on both databases, added by several workers at once."""

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, BrokenBarrierError

import pytest
from sqlalchemy import Engine, event, func, select

from signedfor.breaker_limits import SenderCounts
from signedfor.store import sender_results as module
from signedfor.store.database import transaction
from signedfor.store.sender_results import SenderResults
from signedfor.store.tables import sender_results
from tests.signedfor.store.rate_limiter_simulation import START

ONE = SenderCounts(accepted=1, ended=2, failed=3, filtered=4, spent_micros=5)
_FIRST, _SECOND = ("+15005550001", START), ("+15005550002", START)


def _meeting(barrier: Barrier) -> Callable[..., None]:
    """Waits, after each row that is written, for the other worker to have written one too."""

    def meet(*_: object) -> None:
        with contextlib.suppress(BrokenBarrierError):
            barrier.wait(1)

    return meet


def test_workers_that_add_to_the_same_rows_at_once(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each count is added exactly once, and neither worker has a row that the other waits for."""
    monkeypatch.setattr(module, "_BATCH", 1)
    event.listen(engine, "after_cursor_execute", _meeting(Barrier(2)))

    with ThreadPoolExecutor(2) as threads:
        for adding in [
            threads.submit(SenderResults(engine).add, dict.fromkeys(keys, ONE))
            for keys in ((_FIRST, _SECOND), (_SECOND, _FIRST))
        ]:
            adding.result()

    with transaction(engine, read_only=True) as connection:
        rows = connection.execute(select(sender_results)).all()
    assert [(2, 4, 6, 8, 10)] * 2 == [
        (row.accepted, row.ended, row.failed, row.filtered, row.spent_micros) for row in rows
    ]


def test_more_rows_than_a_statement_takes(engine: Engine) -> None:
    """After a long outage there may be many: PostgreSQL takes 65,535 values."""
    counts = {(f"S{number}", START): ONE for number in range(10_000)}

    SenderResults(engine).add(counts)

    with transaction(engine, read_only=True) as connection:
        assert len(counts) == connection.scalar(select(func.count()).select_from(sender_results))
