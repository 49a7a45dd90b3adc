"""Made-up observations for the invariants: rows of a ledger, histories, messages."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from devtools.sandbox.client import AcceptedRow, CallbackRow, LedgerView, RefusedRow
from signedfor.contract import MessageReport, Outcome
from signedfor.contract.failures import FailureClass
from signedfor.message_activities import Absent
from tests.faults.soak.history import (
    Event,
    History,
    Searched,
    SendFinished,
    SendOutcome,
    SendStarted,
    StatusReceived,
    StatusShown,
)
from tests.faults.soak.invariants import MessageRecord, Observations, violations_in

START = datetime(2026, 11, 21, 12, tzinfo=UTC)
TO = "+15558670001"
FIRST, SECOND = "SM" + "1" * 32, "SM" + "2" * 32


def at(seconds: float) -> datetime:
    """That many seconds after the start."""
    return START + timedelta(seconds=seconds)


def a_row(
    seconds: float, sid: str = FIRST, status: str = "delivered", message_id: str = "m"
) -> AcceptedRow:
    """An accepted create in the ledger."""
    return {
        "n": 1,
        "sid": sid,
        "to": TO,
        "from": "+15005550006",
        "messaging_service_sid": None,
        "body": "",
        "body_sha256": "",
        "segments": 1,
        "status": status,
        "error_code": None,
        "status_callback": f"http://127.0.0.1/webhook/status?message_id={message_id}#rc=5&rp=all&rt=5000",
        "arrived": at(seconds).timestamp(),
        "created": at(seconds).timestamp(),
        "sent": None,
        "finished": True,
    }


def a_refusal(seconds: float) -> RefusedRow:
    """A POST that Twilio refused."""
    return {
        "to": TO,
        "body": "",
        "body_sha256": "",
        "reason": "scripted",
        "code": 20429,
        "http_status": 429,
        "sid": None,
        "arrived": at(seconds).timestamp(),
        "at": at(seconds).timestamp(),
        "from": None,
    }


def a_callback(status: str = "delivered", answer: int | None = 204) -> CallbackRow:
    """A callback that Twilio posted, and the HTTP status of the answer."""
    return {
        "sid": FIRST,
        "to": TO,
        "status": status,
        "attempt": 1,
        "http_status": answer,
        "error": None,
        "at": at(2).timestamp(),
    }


def a_report(
    outcome: Outcome = Outcome.DELIVERED,
    sid: str | None = FIRST,
    failure_class: FailureClass | None = None,
    finished: float = 3,
) -> MessageReport:
    """A message's report."""
    has_dead_letter = outcome in {Outcome.UNCONFIRMED, Outcome.UNDELIVERED, Outcome.FAILED}
    return MessageReport(
        message_id="m",
        outcome=outcome,
        message_sid=sid,
        failure_class=failure_class,
        reason="",
        attempts=1,
        segments=1,
        finished_at=at(finished),
        dead_letter_id="dead-letter:m" if has_dead_letter else None,
        tags={},
    )


def started(seconds: float) -> SendStarted:
    """A send that was started."""
    return SendStarted(at=at(seconds))


def finished(seconds: float, outcome: SendOutcome, sid: str | None = None) -> SendFinished:
    """A send that ended."""
    return SendFinished(at=at(seconds), outcome=outcome, message_sid=sid)


def shown(seconds: float, status: str) -> StatusShown:
    """A status that was shown."""
    return StatusShown(at=at(seconds), status=status)


def received(seconds: float, status: str = "delivered", code: int | None = None) -> StatusReceived:
    """A callback that reached the message."""
    return StatusReceived(at=at(seconds), message_sid=FIRST, status=status, error_code=code)


def absent(seconds: float) -> Searched:
    """A search that found nothing."""
    return Searched(at=at(seconds), finding=Absent())


ACCEPTED = (
    started(0),
    finished(1, SendOutcome.ACCEPTED, FIRST),
    shown(1, "awaiting_receipt"),
)
DELIVERED = (*ACCEPTED, received(2), shown(3, "delivered"))
SECOND_ACCEPTED = (finished(61, SendOutcome.ACCEPTED, SECOND), shown(62, "delivered"))


def a_history(
    *events: Event,
    report: MessageReport | None = None,
    closed: float | None = 3,
    run_id: str = "r",
    is_waiting: bool = False,
) -> History:
    """A workflow's history."""
    return History(
        run_id=run_id,
        events=events,
        closed_at=None if closed is None else at(closed),
        completed=closed is not None,
        report=report,
        is_waiting=is_waiting,
    )


OPEN_DEAD_LETTER = a_history(closed=None, is_waiting=True)
GOOD = MessageRecord(
    message_id="m",
    to=TO,
    requested_at=at(0),
    run_ids=frozenset({"r"}),
    history=a_history(*DELIVERED, report=a_report()),
)


def observations_of(
    message: MessageRecord = GOOD,
    rows: Sequence[AcceptedRow] = (a_row(0.5),),
    *,
    attempts: Sequence[float] = (0.4,),
    refused: Sequence[RefusedRow] = (),
    callbacks: Sequence[CallbackRow] = (a_callback(),),
    opted_out: frozenset[str] = frozenset(),
    inbox_backlog: int = 0,
    final_status_at: Mapping[str, datetime] | None = None,
    sandbox_frozen: Sequence[tuple[float, float]] = (),
) -> Observations:
    """What was observed of one message."""
    ledger: LedgerView = {
        "accepted": list(rows),
        "refused": list(refused),
        "callbacks": list(callbacks),
    }
    return Observations(
        messages=[message],
        ledger=ledger,
        attempts={"m": [at(each) for each in attempts]},
        opted_out=opted_out,
        inbox_backlog=inbox_backlog,
        final_status_at=final_status_at or {},
        sandbox_frozen=[(at(start), at(end)) for start, end in sandbox_frozen],
    )


def message_with(
    *events: Event, report: MessageReport | None = None, closed: float | None = 3
) -> MessageRecord:
    """A message with these events."""
    return replace(GOOD, history=a_history(*events, report=report or a_report(), closed=closed))


def found_in(observed: Observations) -> list[tuple[int, str]]:
    """The violations in these observations."""
    return [(violation.invariant, violation.what) for violation in violations_in(observed)]
