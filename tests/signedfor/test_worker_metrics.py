"""The worker's metrics: a bounded number of series, whatever Twilio and callers say."""

from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import IntegrityError

from signedfor import metric_labels
from signedfor.contract.failures import FailureClass
from signedfor.database_metrics import DatabaseMetrics
from signedfor.store.database import DatabaseUnavailable, open_engine, transaction
from signedfor.store.tables import senders
from signedfor.twilio.client import Operation
from signedfor.twilio.rates import SenderKind
from signedfor.worker_metrics import ACCEPTED, ClaimResult, WorkerMetrics

_SENDERS = (
    *(f"+1555867{number:04d}" for number in range(300)),
    *(f"whatsapp:+1555867{number:04d}" for number in range(300)),
    *(f"Shop {number}" for number in range(300)),
    *(f"MG{number:032x}" for number in range(300)),
    "",
)


def _series(registry: CollectorRegistry, name: str) -> set[tuple[str, ...]]:
    return {
        tuple(sample.labels.values())
        for family in registry.collect()
        if family.name == name
        for sample in family.samples
        if not sample.name.endswith(("_bucket", "_created", "_sum"))
    }


def test_hostile_values_make_no_series_of_their_own() -> None:
    """Every label value is from a closed set, so a year of anything stays small."""
    metrics = WorkerMetrics()
    for sender in _SENDERS:
        metrics.record_pacing_wait(sender, timedelta(seconds=1))
        for result in (ACCEPTED, *FailureClass, "Injected", "x" * 500, None):
            metrics.count_submission(result, sender)
    for code in (*range(0, 1_000_000, 97), 10**12, -1, None):
        metrics.count_error(code)
    for status in (*range(-5, 1500), 10**9, None):
        for operation in Operation:
            metrics.observe_request(operation, status, 0.1)
    for result in ClaimResult:
        metrics.count_claim(result)

    kinds = len(SenderKind)
    assert len(_series(metrics.registry, "signedfor_pacing_wait_seconds")) <= kinds
    submissions = _series(metrics.registry, "signedfor_submissions")
    assert len(submissions) <= kinds * (len(FailureClass) + 2)
    assert {ACCEPTED, metric_labels.OTHER, *FailureClass} == {result for result, _ in submissions}
    assert len(_series(metrics.registry, "signedfor_twilio_requests")) <= 70 * len(Operation)
    codes = {code for (code,) in _series(metrics.registry, "signedfor_twilio_errors")}
    assert {metric_labels.NONE, metric_labels.OTHER} <= codes
    assert len(codes) < 1_000


@pytest.mark.parametrize(
    ("code", "label"), [(20003, "20003"), (None, "none"), (999_999, "other"), (-1, "other")]
)
def test_only_codes_of_our_table_are_labels(code: int | None, label: str) -> None:
    """An account that is held is visible by its code."""
    assert label == metric_labels.twilio_code(code)


@pytest.mark.parametrize(
    ("status", "label"), [(201, "201"), (429, "429"), (None, "none"), (799, "other"), (0, "other")]
)
def test_only_known_statuses_are_labels(status: int | None, label: str) -> None:
    """Whatever stands between us and Twilio may answer anything."""
    assert label == metric_labels.http_status(status)


def _count(registry: CollectorRegistry, name: str, **labels: str) -> float:
    return registry.get_sample_value(name, labels) or 0.0


def test_transactions_are_measured(engine: Engine) -> None:
    """By access; one that joins another is part of it, and one that rolls back is no error."""
    registry = CollectorRegistry()
    DatabaseMetrics(registry).observe(engine)

    with transaction(engine) as connection, transaction(engine, joining=connection):
        pass
    with transaction(engine, read_only=True) as connection:
        connection.execute(select(senders)).all()
    with pytest.raises(LookupError), transaction(engine):
        raise LookupError

    seconds = "signedfor_database_transaction_seconds_count"
    assert 2 == _count(registry, seconds, access="write")
    assert 1 == _count(registry, seconds, access="read")
    errors = "signedfor_database_errors_total"
    assert {0.0} == {_count(registry, errors, result=each) for each in ("unavailable", "failed")}


def test_a_database_that_is_away_is_an_error() -> None:
    """It is counted where it is found, for every caller."""
    engine = open_engine("postgresql://me@127.0.0.1:1/x")
    registry = CollectorRegistry()
    DatabaseMetrics(registry).observe(engine)

    with pytest.raises(DatabaseUnavailable), transaction(engine):
        pass

    assert 1 == _count(registry, "signedfor_database_errors_total", result="unavailable")
    assert 0 == _count(registry, "signedfor_database_errors_total", result="failed")
    engine.dispose()


def test_a_defect_is_another_error(engine: Engine) -> None:
    """A statement that can never work is no outage."""
    registry = CollectorRegistry()
    DatabaseMetrics(registry).observe(engine)

    with (
        pytest.raises(IntegrityError),
        transaction(engine) as connection,
    ):
        connection.execute(text("INSERT INTO senders (sender) VALUES (NULL)"))

    assert 1 == _count(registry, "signedfor_database_errors_total", result="failed")
