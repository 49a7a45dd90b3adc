"""The counts of senders on both databases, added by several workers at once."""

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from sqlalchemy import Engine, func, select

from signedfor.breaker_limits import SenderCounts
from signedfor.store.database import transaction
from signedfor.store.sender_results import SenderResults
from signedfor.store.tables import sender_results
from tests.signedfor.store.rate_limiter_simulation import START

_ONE = SenderCounts(accepted=1, ended=2, failed=3, filtered=4, spent_micros=5)


def _rows(engine: Engine) -> int:
    with transaction(engine, read_only=True) as connection:
        return connection.scalar(select(func.count()).select_from(sender_results)) or 0


def test_workers_add_to_the_same_rows_at_once(engine: Engine) -> None:
    """Each count exactly once, and none waits for another for ever, whatever their order."""
    keys = [
        (f"+1500555{number:04}", START + timedelta(minutes=minute))
        for number in range(20)
        for minute in range(3)
    ]

    def add(seed: int) -> None:
        order = keys.copy()
        random.Random(seed).shuffle(order)  # noqa: S311 - no secret
        SenderResults(engine).add(dict.fromkeys(order, _ONE))

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(add, range(24)))

    assert len(keys) == _rows(engine)
    with transaction(engine, read_only=True) as connection:
        rows = connection.execute(select(sender_results)).all()
    assert {(24, 48, 72, 96, 120)} == {
        (row.accepted, row.ended, row.failed, row.filtered, row.spent_micros) for row in rows
    }


def test_more_rows_than_a_statement_takes(engine: Engine) -> None:
    """After a long outage there are many."""
    counts = {(f"S{number}", START): _ONE for number in range(1201)}

    SenderResults(engine).add(counts)
    SenderResults(engine).add(counts)

    assert len(counts) == _rows(engine)
