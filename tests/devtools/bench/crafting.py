"""A made-up world for the books: rows of a ledger, histories, messages."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from signedfor.steps import Finding

from devtools.bench.books import Account, Books, balance
from devtools.bench.trails import Heard, Searched, SendBegun, SendEnd, SendEnded, Shown, Step, Trail
from devtools.sandbox.client import AcceptedRow, CallbackRow, LedgerView, RefusedRow
from signedfor.contract import MessageReport, Outcome
from signedfor.contract.failures import FailureClass

BEGIN = datetime(2026, 11, 21, 12, tzinfo=UTC)
TO = "+15558670001"
FIRST, SECOND = "SM" + "1" * 32, "SM" + "2" * 32


def at(seconds: float) -> datetime:
    """That many seconds after the beginning."""
    return BEGIN + timedelta(seconds=seconds)


def a_row(
    seconds: float, sid: str = FIRST, status: str = "delivered", message_id: str = "m"
) -> AcceptedRow:
    """An acceptance in the ledger."""
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
        "status_callback": f"http://127.0.0.1/webhook/status?message_id={message_id}#rc=5&rp=all",
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
        "at": at(seconds).timestamp(),
        "from": None,
    }


def a_callback(status: str = "delivered", answer: int | None = 204) -> CallbackRow:
    """A callback that Twilio posted, and how it was answered."""
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
    settled: float = 3,
) -> MessageReport:
    """What a message reported."""
    letter = outcome in {Outcome.UNCONFIRMED, Outcome.UNDELIVERED, Outcome.FAILED}
    return MessageReport(
        message_id="m",
        outcome=outcome,
        message_sid=sid,
        failure_class=failure_class,
        reason="",
        attempts=1,
        segments=1,
        finished_at=at(settled),
        dead_letter_id="dead-letter:m" if letter else None,
        tags={},
    )


def begun(seconds: float) -> SendBegun:
    """A send that was begun."""
    return SendBegun(at=at(seconds))


def ended(seconds: float, end: SendEnd, sid: str | None = None) -> SendEnded:
    """A send that ended."""
    return SendEnded(at=at(seconds), end=end, message_sid=sid)


def shown(seconds: float, status: str) -> Shown:
    """A status that was shown."""
    return Shown(at=at(seconds), status=status)


def heard(seconds: float, status: str = "delivered", code: int | None = None) -> Heard:
    """A callback that reached the message."""
    return Heard(at=at(seconds), message_sid=FIRST, status=status, error_code=code)


def absent(seconds: float) -> Searched:
    """A search that found nothing."""
    return Searched(at=at(seconds), finding=Finding.ABSENT)


TAKEN = (begun(0), ended(1, SendEnd.TAKEN, FIRST), shown(1, "awaiting_receipt"))
DELIVERED = (*TAKEN, heard(2), shown(3, "delivered"))
AGAIN = (ended(61, SendEnd.TAKEN, SECOND), shown(62, "delivered"))


def a_trail(
    *steps: Step,
    report: MessageReport | None = None,
    closed: float | None = 3,
    run_id: str = "r",
    waits: bool = False,
) -> Trail:
    """A workflow's history."""
    return Trail(
        run_id=run_id,
        steps=steps,
        closed_at=None if closed is None else at(closed),
        completed=closed is not None,
        report=report,
        waits=waits,
    )


OPEN_LETTER = a_trail(closed=None, waits=True)
GOOD = Account(
    message_id="m",
    to=TO,
    handed_in_at=at(0),
    run_ids=frozenset({"r"}),
    trail=a_trail(*DELIVERED, report=a_report()),
)


def books_of(
    account: Account = GOOD,
    rows: Sequence[AcceptedRow] = (a_row(0.5),),
    *,
    notes: Sequence[float] = (0.4,),
    refused: Sequence[RefusedRow] = (),
    callbacks: Sequence[CallbackRow] = (a_callback(),),
    stops: frozenset[str] = frozenset(),
    inbox_left: int = 0,
    last_words: Mapping[str, datetime] | None = None,
    twilio_frozen: Sequence[tuple[float, float]] = (),
) -> Books:
    """The books of one message."""
    ledger: LedgerView = {
        "accepted": list(rows),
        "refused": list(refused),
        "callbacks": list(callbacks),
    }
    return Books(
        accounts=[account],
        ledger=ledger,
        notes={"m": [at(each) for each in notes]},
        stops=stops,
        inbox_left=inbox_left,
        last_words=last_words or {},
        twilio_frozen=[(at(begin), at(end)) for begin, end in twilio_frozen],
    )


def account_with(
    *steps: Step, report: MessageReport | None = None, closed: float | None = 3
) -> Account:
    """A message with these steps."""
    return replace(GOOD, trail=a_trail(*steps, report=report or a_report(), closed=closed))


def found_in(books: Books) -> list[tuple[int, str]]:
    """What is wrong in the books."""
    return [(violation.rule, violation.what) for violation in balance(books)]
