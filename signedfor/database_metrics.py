"""The database as worker and webhook see it: how long transactions take, and which fail."""

from prometheus_client import CollectorRegistry, Counter, Histogram
from sqlalchemy import Engine

from signedfor.metrics import LATENCY_BUCKETS
from signedfor.store.database import TransactionResult, observe_transactions


class DatabaseMetrics:
    """The metrics of one engine's transactions."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.transaction_seconds = Histogram(
            "signedfor_database_transaction_seconds",
            "Time of a database transaction, with the wait for a connection and for locks.",
            ["access"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.errors = Counter(
            "signedfor_database_errors",
            "Transactions that failed: the database was unavailable, or the statement a defect.",
            ["result"],
            registry=registry,
        )
        self._seconds = {
            is_read: self.transaction_seconds.labels("read" if is_read else "write")
            for is_read in (True, False)
        }
        self._errors = {
            result: self.errors.labels(result.value)
            for result in TransactionResult
            if result is not TransactionResult.OK
        }

    def observe(self, engine: Engine) -> None:
        """Measure this engine's transactions from now on."""
        observe_transactions(engine, self._observe)

    def _observe(self, seconds: float, result: TransactionResult, *, read_only: bool) -> None:
        self._seconds[read_only].observe(seconds)
        if result is not TransactionResult.OK:
            self._errors[result].inc()
