from dataclasses import replace

from signedfor.contract import Outcome
from signedfor.contract.failures import FailureClass
from tests.faults.soak.invariants import MessageRecord
from tests.faults.soak.report import SoakReport, report_on
from tests.faults.soak.samples import (
    GOOD,
    TO,
    a_report,
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
    *, good: int = 0, unresolved: int = 0, unsendable: int = 0, canceled: int = 0
) -> SoakReport:
    """The report on that many messages; all but the good ones stay unresolved."""
    models: list[tuple[MessageRecord, Kind]] = [
        *[(GOOD, Kind.PLAIN)] * good,
        *[(_UNRESOLVED, Kind.PLAIN)] * unresolved,
        *[(_UNRESOLVED, Kind.UNANSWERED)] * unsendable,
        *[(_UNRESOLVED, Kind.CANCELED)] * canceled,
    ]
    messages, results = [], {}
    for number, (model, kind) in enumerate(models):
        message = replace(model, message_id=f"m-{number}")
        job = Job(message_id=message.message_id, to=TO, kind=kind, at=0)
        messages.append(message)
        results[message.message_id] = JobResult(job=job, requested_at=at(0))
    return report_on(
        replace(observations_of(), messages=messages),
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
