"""What the database's work costs when it is full: a million opt-outs, two million attempt records.

Measured in an empty database and in a full one, on SQLite and on PostgreSQL: each transaction that
a message or an inbound message needs, sends while old records are deleted, and the size. The plans
of all statements are read too: none may read a whole table.
"""

import itertools
import re
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event

from devtools.bench.environment import log_progress
from devtools.bench.figures import Bound, Rounds, percentiles
from devtools.bench.growth_rows import KEPT, SENDER, fill, opted_out, size_megabytes
from devtools.bench.report import Report
from devtools.bench.sizes import Sizes
from devtools.stack.ports import free_ports
from devtools.stack.postgres import Postgres
from devtools.stack.processes import ProcessGroup
from signedfor.contract import InboundKind, MessageRequest
from signedfor.inbound import InboundRecord
from signedfor.store.claim_statements import Blocked
from signedfor.store.database import open_engine
from signedfor.store.inbound import InboundMessages
from signedfor.store.migrate import upgrade
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.send_attempts import Claimed, SendAttempts
from signedfor.store.suppressions import Suppressions
from signedfor.twilio.rates import SenderKind

EMPTY, FULL = "empty", "full"
WHOLE_TABLE = "statements that read a whole table"
_BIG = ("send_attempts", "suppressions", "suppression_history", "inbound_messages")
_SCANS = {
    "sqlite": re.compile(rf"\bSCAN ({'|'.join(_BIG)})\b"),
    "postgresql": re.compile(rf"Seq Scan on ({'|'.join(_BIG)})\b"),
}
_FREE_NUMBER = 17_770_000_000
"""Of recipients without a suppression."""
_LATE = timedelta(days=30)
"""How far Twilio's list is searched for inbound messages that never arrived, at most."""
_DUE_SHARE = 20
"""One record in so many is due when the purge is measured."""


_AFTER_THE_STOPS = 10_000_000
"""Numbers of recipients who have not texted STOP in this benchmark."""


class UnexpectedResult(Exception):
    """A statement had another effect than the one to be measured."""


async def run(sizes: Sizes) -> Report:
    """Measure it."""
    samples: dict[str, dict[str, float]] = {EMPTY: {}, FULL: {}}
    for kind in ("SQLite", "PostgreSQL"):
        # Not in a thread, which Ctrl-C would wait for.
        for state, sample in _measure(kind, sizes).items():
            named = {f"{kind}: {name}": value for name, value in sample.items()}
            log_progress(state, named)
            samples[state].update(named)
    return Report(
        benchmark="growth",
        question="the database's work when it is full",
        rounds=Rounds({state: [sample] for state, sample in samples.items()}),
        baseline=EMPTY,
        bounds=[
            Bound(side=FULL, figure=f"{kind}: {WHOLE_TABLE}", at_most=0)
            for kind in ("SQLite", "PostgreSQL")
        ],
        conditions={
            "opt-outs": sizes.opt_outs,
            "inbound messages": sizes.opt_outs,
            "attempt records": sizes.attempt_records,
            "of each transaction": sizes.transactions,
        },
    )


def _measure(kind: str, sizes: Sizes) -> Mapping[str, dict[str, float]]:
    with new_database(kind) as url:
        engine = open_engine(url)
        try:
            found = {EMPTY: _Measurement(engine, sizes, is_full=False).figures()}
            fill(engine, opt_outs=sizes.opt_outs, attempts=sizes.attempt_records)
            found[FULL] = _Measurement(engine, sizes, is_full=True).figures()
            found[FULL] |= _Purge(url, sizes).figures()
        finally:
            engine.dispose()
    return found


@contextmanager
def new_database(kind: str) -> Iterator[str]:
    """A new database with its tables; yields its URL."""
    with tempfile.TemporaryDirectory() as name, ProcessGroup() as group:
        folder = Path(name)
        if kind == "SQLite":
            url = f"sqlite:///{folder / 'growth.db'}"
            upgrade(url)
            yield url
            return
        (port,) = free_ports(1)
        server = Postgres(folder=folder, port=port, group=group, log=folder / "log")
        server.initialise()
        server.start()
        try:
            server.execute("CREATE DATABASE growth")
            upgrade(server.url("growth"))
            yield server.url("growth")
        finally:
            server.stop()


class _Measurement:
    """Times the transactions of messages and inbound messages, and reads their plans."""

    _numbers = itertools.count()

    def __init__(self, engine: Engine, sizes: Sizes, *, is_full: bool) -> None:
        self._engine = engine
        self._sizes = sizes
        self._is_full = is_full
        self._attempts = send_attempts(engine)
        self._suppressions = Suppressions(engine)
        self._inbound = InboundMessages(engine)

    def figures(self) -> dict[str, float]:
        """p50 and p99 of each transaction, the whole tables read, and the size."""
        transactions: dict[str, Callable[[int], None]] = {
            "claim": self._claim,
            "opt-out check": self._check,
            "search for candidate duplicates": self._around,
            "inbound STOP": self._stop,
            "inbound STOP, 30 days late": self._late_stop,
        }
        if self._is_full:
            transactions["claim, recipient opted out"] = self._claim_opted_out
        figures: dict[str, float] = {}
        with _statements(self._engine) as statements:
            for name, do in transactions.items():
                for number in self._take(self._sizes.transactions // 20 + 1):
                    do(number)  # warms up
                seconds = [_timed(do, number) for number in self._take(self._sizes.transactions)]
                found = percentiles(seconds)
                figures |= {f"{name} {part} (ms)": found[f"{part} (ms)"] for part in ("p50", "p99")}
        figures[WHOLE_TABLE] = _whole_tables(
            self._engine, statements, has_rows=self._sizes.attempt_records >= 100_000
        )
        figures["size (MB)"] = size_megabytes(self._engine)
        return figures

    def _take(self, count: int) -> list[int]:
        return list(itertools.islice(self._numbers, count))

    def _claim(self, number: int) -> None:
        _require(self._attempts.claim(f"m-{number}", _message(number), sender=SENDER), Claimed())

    def _claim_opted_out(self, number: int) -> None:
        to = opted_out(number % self._sizes.opt_outs)
        message = MessageRequest(to=to, body="Hello.")
        _require(self._attempts.claim(f"m-{number}", message, sender=SENDER), Blocked.SUPPRESSED)

    def _check(self, number: int) -> None:
        self._suppressions.find(_message(number).to, sender=SENDER, category=None)

    def _around(self, number: int) -> None:
        since = datetime.now(UTC) - timedelta(hours=1)
        self._attempts.around(f"m-{number}", _message(number), since=since)

    def _stop(self, number: int) -> None:
        self._inbound.receive(_inbound(number, at=datetime.now(UTC)))

    def _late_stop(self, number: int) -> None:
        self._inbound.receive(_inbound(number, at=datetime.now(UTC) - _LATE))


def send_attempts(engine: Engine) -> SendAttempts:
    """The attempt records, with rates at which no message waits."""
    rates = dict.fromkeys(SenderKind, 1_000_000.0)
    return SendAttempts(engine, RateLimiter(engine, rates=rates))


def _message(number: int) -> MessageRequest:
    return MessageRequest(to=f"+{_FREE_NUMBER + number}", body="Your parcel is at the door.")


def _inbound(number: int, *, at: datetime) -> InboundRecord:
    return InboundRecord(
        message_sid=f"SMf{number:031x}",
        from_=f"+{_FREE_NUMBER + number}",
        to=SENDER,
        kind=InboundKind.STOP,
        received_at=at,
    )


def _require(found: object, expected: object) -> None:
    if found != expected:
        raise UnexpectedResult(f"The claim was answered by {found}.")


def _timed(do: Callable[[int], None], number: int) -> float:
    started = time.perf_counter()
    do(number)
    return time.perf_counter() - started


@contextmanager
def _statements(engine: Engine) -> Iterator[dict[str, Any]]:
    """The parameters of each different statement that is executed in the block."""
    found: dict[str, Any] = {}

    def note(*given: Any) -> None:
        statement, parameters, is_many = given[2], given[3], given[5]
        if not is_many and statement.lstrip().startswith(("SELECT", "INSERT", "UPDATE", "DELETE")):
            found.setdefault(statement, parameters)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", note)


def _whole_tables(engine: Engine, statements: Mapping[str, Any], *, has_rows: bool) -> int:
    """How many of these statements read one of the big tables from beginning to end."""
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql" and not has_rows:
            # It rightly reads a small table whole, even if there is an index.
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        return sum(
            _SCANS[engine.dialect.name].search(_plan(connection, statement, parameters)) is not None
            for statement, parameters in statements.items()
        )


def _plan(connection: Connection, statement: str, parameters: Any) -> str:
    explain = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
    rows = connection.exec_driver_sql(f"{explain} {statement}", parameters)
    return "\n".join(str(row[-1]) for row in rows)


class _Purge:
    """Deletes old attempt records while messages are claimed, as a worker does."""

    def __init__(self, url: str, sizes: Sizes) -> None:
        self._url = url
        self._sizes = sizes

    def figures(self) -> dict[str, float]:
        """The duration of its batches, and of the claims meanwhile."""
        purging, claiming = open_engine(self._url), open_engine(self._url)
        batches: list[float] = []
        _time_transactions(purging, batches)
        before = datetime.now(UTC) - KEPT * (1 - 1 / _DUE_SHARE)
        deleted: list[int] = []

        def purge() -> None:
            deleted.append(send_attempts(purging).purge(before=before))

        claims: list[float] = []
        attempts = send_attempts(claiming)
        thread = threading.Thread(target=purge)
        try:
            thread.start()
            for number in itertools.count(_AFTER_THE_STOPS):
                message = _message(number)
                started = time.perf_counter()
                _require(attempts.claim(f"purge-{number}", message, sender=SENDER), Claimed())
                claims.append(time.perf_counter() - started)
                if not thread.is_alive():
                    break
            thread.join()
        finally:
            purging.dispose()
            claiming.dispose()
        found = percentiles(claims)
        return {
            "records purged": sum(deleted),
            "purge, a batch of 2,000, median (ms)": 1000 * statistics.median(batches),
            "purge, a batch of 2,000, max (ms)": 1000 * max(batches),
            **{f"claim during the purge {name}": found[name] for name in found if "95" not in name},
        }


def _time_transactions(engine: Engine, seconds: list[float]) -> None:
    began: dict[int, float] = {}

    def begin(connection: Connection) -> None:
        began[id(connection)] = time.perf_counter()

    def commit(connection: Connection) -> None:
        seconds.append(time.perf_counter() - began.pop(id(connection)))

    event.listen(engine, "begin", begin)
    event.listen(engine, "commit", commit)
