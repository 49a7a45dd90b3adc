from collections.abc import Sequence
from dataclasses import replace

from signedfor.contract import Outcome
from signedfor.contract.failures import FailureClass
from tests.faults.soak.history import SendFinished, SendOutcome
from tests.faults.soak.invariants import MessageRecord, Observations, Period
from tests.faults.soak.report import SoakReport, report_on
from tests.faults.soak.samples import (
    GOOD,
    TO,
    a_history,
    a_report,
    a_row,
    at,
    message_with,
    observations_of,
    started,
)
from tests.faults.soak.workload import Job, JobResult, Kind

_UNRESOLVED = message_with(
    started(0), report=a_report(Outcome.UNCONFIRMED, None, FailureClass.OUTCOME_UNKNOWN)
)


def _report(
    *,
    good: int = 0,
    unresolved: int = 0,
    unsendable: int = 0,
    canceled: int = 0,
    duplicates: int = 0,
    forgotten: Sequence[Period] = (),
) -> SoakReport:
    """The report on that many messages; all but the good ones stay unresolved."""
    models: list[tuple[MessageRecord, Kind]] = [
        *[(GOOD, Kind.PLAIN)] * good,
        *[(_UNRESOLVED, Kind.PLAIN)] * unresolved,
        *[(_UNRESOLVED, Kind.UNANSWERED)] * unsendable,
        *[(_UNRESOLVED, Kind.CANCELED)] * canceled,
        *[(_UNRESOLVED, Kind.DUPLICATE)] * duplicates,
    ]
    messages, results = [], {}
    for number, (model, kind) in enumerate(models):
        message = replace(model, message_id=f"m-{number}")
        job = Job(message_id=message.message_id, to=TO, kind=kind, at=0)
        messages.append(message)
        results[message.message_id] = JobResult(job=job, requested_at=at(0))
    return report_on(
        replace(observations_of(), messages=messages, forgotten=forgotten),
        [],
        results=results,
        twilio_faults={},
        seed=1,
        fault_seconds=1,
        seconds_to_idle=1,
        is_idle=True,
        faults={},
        unexpected_exits=[],
    )


def test_one_in_a_thousand_may_stay_unresolved() -> None:
    """More than that fails the soak, though each of them has its dead letter."""
    assert _report(good=2997, unresolved=2).is_clean
    assert not _report(good=2996, unresolved=3).is_clean


def test_one_of_a_few_may_stay_unresolved() -> None:
    """A short soak has fewer than a thousand, and duplicates that cannot be distinguished."""
    assert _report(good=199, unresolved=1).is_clean
    assert not _report(good=198, unresolved=2).is_clean


def test_unsendable_messages_do_not_count() -> None:
    """Twilio never answers them: they may stay unresolved, and do not raise the limit."""
    assert _report(good=10, unsendable=5).is_clean
    assert 1 == _report(good=1990, unsendable=12).max_unresolved


def test_messages_that_were_canceled_while_unresolved_do_not_count() -> None:
    """The caller ended their resolution; each has its dead letter all the same."""
    assert _report(good=10, canceled=5).is_clean


def test_duplicates_that_temporal_has_forgotten_are_indistinguishable() -> None:
    """They are counted apart; others that Temporal has forgotten are not excused."""
    forgotten = [(at(-1), at(10))]

    report = _report(good=10, duplicates=4, forgotten=forgotten)

    assert report.is_clean
    assert (0, 4) == (report.unresolved, report.indistinguishable)
    assert 15 == _report(good=10, unresolved=5, forgotten=forgotten).forgotten_in_part
    assert not _report(good=10, unresolved=2, forgotten=forgotten).is_clean
    assert not _report(good=10, duplicates=2).is_clean


def test_the_time_after_a_stop_is_reported() -> None:
    """Apart for what a frozen worker has sent."""
    rows = [a_row(moment) for moment in (-1, 0.004, 0.002, 3)]
    observed = replace(
        observations_of(rows=rows), stopped_at={TO: at(0)}, worker_frozen=[(at(1), at(2))]
    )

    report = _report_of(observed)

    assert [2, 4] == [round(1000 * each) for each in report.after_stop]
    assert [3] == [round(each) for each in report.after_stop_frozen]
    assert "committed STOP: 2, p50 / p99 / max 4 / 4 / 4 ms" in report.text()


def test_a_held_claim_is_counted_once() -> None:
    """A reset copies the history of an earlier run."""
    held = SendFinished(at=at(1), outcome=SendOutcome.UNKNOWN, is_claim_held=True)
    later = replace(held, at=at(2))
    message = replace(
        GOOD, history=a_history(held, later, report=a_report()), earlier_runs=(a_history(held),)
    )

    assert 2 == _report_of(replace(observations_of(), messages=[message])).claims_held


def _report_of(observed: Observations) -> SoakReport:
    job = Job(message_id="m", to=TO, kind=Kind.PLAIN, at=0)
    return report_on(
        observed,
        [],
        results={"m": JobResult(job=job, requested_at=at(0))},
        twilio_faults={},
        seed=1,
        fault_seconds=1,
        seconds_to_idle=1,
        is_idle=True,
        faults={},
        unexpected_exits=[],
    )
